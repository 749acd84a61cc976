import { mkdir } from "node:fs/promises";
import type { Command } from "commander";
import type { RotatingIdentity } from "#certs/identity/identity.ts";
import { roleOf } from "#certs/identity/spiffe_id.ts";
import { usage } from "#cli/exit.ts";
import { countOption, hostPortOption } from "#cli/options.ts";
import { startIdentity } from "#cli/proxy/identity.ts";
import { proxyLog, type RunningProxy, runProxy } from "#cli/proxy/run.ts";
import { runSidecar } from "#cli/proxy/sidecar.ts";
import { startStatic } from "#cli/proxy/static.ts";
import { untilStopped } from "#cli/signals.ts";
import { snapshotPath } from "#cli/state_dir.ts";
import { VERSION } from "#cli/version.ts";
import type { HostPort } from "#control/config/schema.ts";
import { systemClock } from "#kernel/clock.ts";
import { systemRng } from "#kernel/rng.ts";
import { ControlSource } from "#proxy/subscribe/control_source.ts";
import { LastGood, LastGoodSource } from "#proxy/subscribe/last_good.ts";

/** Options of `espalier proxy`, as commander gives them. */
export interface ProxyOptions {
  readonly file?: string;
  readonly state?: string;
  readonly control?: string;
  readonly workers: number;
  readonly admin: HostPort;
  readonly inbound?: HostPort;
  readonly app?: HostPort;
  readonly service?: string;
  readonly outbound?: HostPort;
  readonly drain: number;
}

export function registerProxy(program: Command): void {
  program
    .command("proxy")
    .description(
      "Runs one proxy: from a file alone, or as part of a cluster after `espalier join`.",
    )
    .option("-f, --file <path>", "file or directory of resources; no control service is needed")
    .option("--state <dir>", "state of a proxy that has joined a cluster")
    .option("--control <host:port>", "API of the control service, if not as told when joining")
    .option("--workers <count>", "processes that share the ports", countOption(1, 256), 1)
    .option("--admin <host:port>", "/ready /metrics /config /explain", hostPortOption, {
      address: "127.0.0.1",
      port: 9180,
    })
    .option("--inbound <host:port>", "sidecar: where the mesh reaches the workload", hostPortOption)
    .option("--app <host:port>", "sidecar: the workload itself", hostPortOption)
    .option("--service <name.namespace>", "sidecar: the service that the workload serves")
    .option("--outbound <host:port>", "sidecar: where the workload sends requests", hostPortOption)
    .option("--drain <seconds>", "for running requests at the end", countOption(0, 3_600), 10)
    .addHelpText("after", "\nSIGHUP reads the file anew; SIGTERM drains and ends.")
    .action((options: ProxyOptions) => run(options));
}

async function run(options: ProxyOptions): Promise<void> {
  const sidecar = options.inbound !== undefined || options.outbound !== undefined;
  if ((options.file === undefined) === (options.state === undefined)) {
    throw usage("give either --file, for a proxy by itself, or --state, for one that has joined");
  }
  if (sidecar && (options.file !== undefined || options.workers > 1)) {
    throw usage("a sidecar has --state and one worker");
  }
  const running =
    options.file !== undefined
      ? await startStatic(options, options.file)
      : await startJoined(options);
  await untilStopped();
  await running.stop(options.drain * 1_000);
}

async function startJoined(options: ProxyOptions): Promise<RunningProxy> {
  const log = proxyLog();
  const state = options.state!;
  const { identity, api, stop } = await startIdentity(state, options.control, log);
  await mkdir(state, { recursive: true, mode: 0o700 });
  const store = new LastGood(snapshotPath(state), log);
  const first = await store.load();
  const live = new ControlSource({
    control: options.control ?? api,
    identity,
    version: VERSION,
    clock: systemClock,
    rng: systemRng(),
    log,
  });
  const source = new LastGoodSource(live, store, first);
  const report = (...said: Parameters<ControlSource["report"]>): void => live.report(...said);
  const isGateway = roleOf(identity.current().id) === "gateway";
  const base = { options, log, identity: identity as RotatingIdentity, source, report };
  const running = isGateway ? await runProxy(base) : await runSidecar(base);
  return {
    stop: async (maxMs) => {
      await running.stop(maxMs);
      stop();
    },
  };
}
