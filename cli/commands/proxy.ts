import type { Command } from "commander";
import { usage } from "#cli/exit.ts";
import { adminOption, countOption, hostPortOption, zoneOption } from "#cli/options.ts";
import { startStatic } from "#cli/proxy/static.ts";
import { untilStopped } from "#cli/signals.ts";
import type { HostPort } from "#control/config/scalars.ts";

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
  readonly accessLog?: string;
  readonly zone?: string;
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
    .addOption(adminOption("/ready /live /metrics /config /clusters /connections /explain /log"))
    .addOption(zoneOption())
    .option("--access-log <file>", "where GatewayParameters ask for one; left out: stdout")
    .option("--inbound <host:port>", "sidecar: where the mesh reaches the workload", hostPortOption)
    .option("--app <host:port>", "sidecar: the workload itself", hostPortOption)
    .option("--service <name.namespace>", "sidecar: the service that the workload serves")
    .option("--outbound <host:port>", "sidecar: where the workload sends requests", hostPortOption)
    .option("--drain <seconds>", "for running requests at the end", countOption(0, 3_600), 10)
    .addHelpText(
      "after",
      "\nSIGHUP reads the file anew and reopens the access log; SIGTERM drains and ends. Another process that\n" +
        "is started with the same file takes over the ports, and this one drains and ends.",
    )
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
  // The file is about to be read anyway; by default the signal would end us.
  process.on("SIGHUP", () => {});
  const running =
    options.file !== undefined
      ? await startStatic(options, options.file)
      : await (await import("#cli/proxy/joined.ts")).startJoined(options, options.state!);
  process.on("SIGHUP", () => running.reopenLogs());
  // Whoever has taken over serves; what is left to us ends as it does at a SIGTERM.
  await Promise.race([untilStopped(), running.ended]);
  await running.stop(options.drain * 1_000);
}
