import type { RotatingIdentity } from "#certs/identity/identity.ts";
import { fail, usage } from "#cli/exit.ts";
import { jsonLine } from "#cli/output.ts";
import type { HostPort } from "#control/config/scalars.ts";
import { openAdmin } from "#kernel/admin_http.ts";
import { systemClock } from "#kernel/clock.ts";
import { jsonLogger, type LeveledLogger, parseLogLevel } from "#kernel/log.ts";
import { systemRng } from "#kernel/rng.ts";
import { type ClusterName, coreOf, type MeshName } from "#model/names.ts";
import type { ServiceReport } from "#model/report.ts";
import type { DataPlane, ListenerStatus } from "#proxy/app/data_plane.ts";
import { LocalPlane } from "#proxy/app/local_plane.ts";
import { ProxyProcess } from "#proxy/app/proxy_process.ts";
import { WorkerPool } from "#proxy/app/worker_pool.ts";
import { LineLog, STDOUT } from "#proxy/observe/access_log.ts";
import type { SnapshotSource } from "#proxy/subscribe/source.ts";

/** A proxy that has been started. */
export interface RunningProxy {
  /** Begins a new access log where the old file has been moved away. */
  reopenLogs(): void;
  /** Drains for at most `maxMs`. */
  stop(maxMs: number): Promise<void>;
}

/** What the command line says of every proxy. */
export interface ProxyRunOptions {
  readonly workers: number;
  readonly admin: HostPort;
  /** File of the access log; undefined: stdout. */
  readonly accessLog?: string;
}

/** What a proxy is made of. */
export interface ProxyStart {
  readonly options: ProxyRunOptions;
  readonly log: LeveledLogger;
  /** Undefined: a proxy by itself, without mTLS. */
  readonly identity?: RotatingIdentity;
  readonly source: SnapshotSource;
  readonly report?: (reports: readonly ServiceReport[], mesh: HostPort | undefined) => void;
  /** Called with listeners that did not open at the start; throws what the command fails with. */
  readonly onFailed?: (failed: readonly ListenerStatus[]) => never;
}

const LOCAL_CORE = coreOf("local" as MeshName);

/** Level from `ESPALIER_LOG`: debug, info, warn or error. */
export function proxyLog(): LeveledLogger {
  return jsonLogger(parseLogLevel(process.env["ESPALIER_LOG"]) ?? "info");
}

/** A data plane of this process, or of several workers. */
export function newPlane(start: ProxyStart): DataPlane {
  const { options, log, identity } = start;
  const cluster: ClusterName = identity?.current().cluster ?? LOCAL_CORE;
  const own = { clock: systemClock, rng: systemRng(), log, ...(identity && { identity }) };
  if (options.workers === 1) {
    const accessLog = new LineLog(options.accessLog ?? STDOUT, systemClock, log);
    return new LocalPlane({ ...own, cluster, reusePort: false, accessLog });
  }
  const program = new URL(import.meta.resolve("#cli/worker.ts"));
  const { workers, accessLog } = options;
  return new WorkerPool({ ...own, workers, accessLog, program });
}

/** Starts a proxy and says on stdout, one JSON line each, which listeners are ready. */
export async function runProxy(start: ProxyStart): Promise<RunningProxy> {
  const { options, source, report, log, onFailed } = start;
  const plane = newPlane(start);
  const base = { clock: systemClock, plane, source, log };
  const proxy = new ProxyProcess(report === undefined ? base : { ...base, report });
  const admin = await openAdmin({ ...options.admin, routes: proxy.adminRoutes() });
  if (!admin.ok) {
    await plane.drain(0);
    throw usage(`--admin: ${admin.error}`);
  }
  proxy.start();
  const { address, port } = admin.value;
  jsonLine({ event: "ready", listener: "admin", address, port });
  void proxy.started.then(() => announce(proxy, log, onFailed)).catch(crash);
  if (onFailed !== undefined) {
    await proxy.started;
    const failed = (await proxy.settled()).filter(({ problem }) => problem !== undefined);
    if (failed.length > 0) {
      await Promise.all([proxy.stop(0), admin.value.close()]);
      onFailed(failed);
    }
  }
  return {
    reopenLogs: () => plane.reopenLogs(),
    stop: async (maxMs) => {
      await proxy.stop(maxMs);
      await admin.value.close();
    },
  };
}

async function announce(
  proxy: ProxyProcess,
  log: LeveledLogger,
  onFailed: ProxyStart["onFailed"],
): Promise<void> {
  const statuses = await proxy.settled();
  if (onFailed !== undefined && statuses.some(({ problem }) => problem !== undefined)) return;
  for (const { name, bound, problem } of statuses) {
    if (bound !== undefined) jsonLine({ event: "ready", listener: name, ...bound });
    else log.error("listener not open", { listener: name, problem });
  }
  await proxy.report();
}

function crash(error: unknown): never {
  throw error instanceof Error ? error : fail(String(error));
}
