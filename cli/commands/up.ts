import type { Command } from "commander";
import { badConfig, usage } from "#cli/exit.ts";
import { adminOption, zoneOption } from "#cli/options.ts";
import { jsonLine } from "#cli/output.ts";
import { proxyLog } from "#cli/proxy/run.ts";
import { untilStopped } from "#cli/signals.ts";
import { Tree } from "#cli/up/tree.ts";
import { planTree } from "#cli/up/tree_problems.ts";
import { loadResources } from "#control/config/load.ts";
import type { HostPort } from "#control/config/scalars.ts";
import { openAdmin } from "#kernel/admin_http.ts";
import { systemClock } from "#kernel/clock.ts";
import { systemRng } from "#kernel/rng.ts";
import { LineLog } from "#proxy/observe/line_log.ts";

interface UpOptions {
  readonly file: string;
  readonly admin: HostPort;
  readonly zone?: string;
}

export function registerUp(program: Command): void {
  program
    .command("up")
    .description("Runs a whole tree of clusters in this process, on an embedded bus.")
    .requiredOption("-f, --file <path>", "file or directory with every cluster's resources")
    .addOption(adminOption("/ready /metrics /clusters /explain /orders"))
    .addOption(zoneOption())
    .addHelpText(
      "after",
      '\nA resource belongs to the cluster that its annotation "espalier.dev/cluster" names;\nwithout one, to every cluster.',
    )
    .action((options: UpOptions) => run(options));
}

async function run(options: UpOptions): Promise<void> {
  const resources = await loadResources(options.file);
  if (!resources.ok) throw badConfig(resources.error);
  const planned = planTree(resources.value);
  if (!planned.ok) throw badConfig(planned.error);
  const log = proxyLog();
  // By default it would end us.
  process.on("SIGHUP", () => log.warn("espalier up reads its files once: start it again"));
  const newAccessLog = () => new LineLog(undefined, systemClock, log);
  const { zone } = options;
  const ports = { clock: systemClock, rng: systemRng(), log, newAccessLog, zone };
  const tree = await Tree.start(planned.value, ports);
  const listeners = await tree.listeners();
  const failed = listeners.filter(({ status }) => status.problem !== undefined);
  const admin = await openAdmin({ ...options.admin, routes: tree.adminRoutes() });
  if (!admin.ok || failed.length > 0) {
    await tree.close(0);
    if (admin.ok) await admin.value.close();
    else throw usage(`--admin: ${admin.error}`);
    throw badConfig(
      failed.map(({ cluster, status }) => ({
        source: options.file,
        path: `${cluster}: listener ${status.name}`,
        message: status.problem!,
      })),
    );
  }
  const { address, port } = admin.value;
  jsonLine({ event: "ready", listener: "admin", address, port });
  for (const { cluster, status } of listeners) {
    jsonLine({ event: "ready", cluster, listener: status.name, ...status.bound });
  }
  await untilStopped();
  await admin.value.close();
  await tree.close(5_000);
}
