import type { RotatingIdentity } from "#certs/identity/identity.ts";
import { type CommandError, fail, usage } from "#cli/exit.ts";
import { jsonLine } from "#cli/output.ts";
import { SHARES_PORTS, type Succession } from "#cli/proxy/succession.ts";
import { VERSION } from "#cli/version.ts";
import type { HostPort } from "#control/config/scalars.ts";
import { type AdminServer, openAdmin } from "#kernel/admin_http.ts";
import { sleep, systemClock } from "#kernel/clock.ts";
import { jsonLogger, type LeveledLogger, parseLogLevel } from "#kernel/log.ts";
import { systemRng } from "#kernel/rng.ts";
import { type ClusterName, coreOf, type MeshName } from "#model/names.ts";
import type { ServiceReport } from "#model/report.ts";
import type { DataPlane, ListenerStatus } from "#proxy/app/data_plane.ts";
import { LocalPlane, type LocalPlaneOptions } from "#proxy/app/local_plane.ts";
import { ProxyProcess } from "#proxy/app/proxy_process.ts";
import { WorkerPool } from "#proxy/app/worker_pool.ts";
import { LineLog, problemWith } from "#proxy/observe/line_log.ts";
import type { SnapshotSource } from "#proxy/subscribe/source.ts";

/** Between two tries to open an admin port that the process before still has. */
const ADMIN_RETRY_MS = 200;

/** A proxy that has been started. */
export interface RunningProxy {
  /** Resolves when another process has taken over; rejects with what the command fails with. */
  readonly ended: Promise<void>;
  /** Begins a new access log where the old file has been moved away. */
  reopenLogs(): void;
  /** Drains for at most `maxMs`. */
  stop(maxMs: number): Promise<void>;
}

/** What the command line says of every proxy. */
export interface ProxyRunOptions {
  readonly workers: number;
  readonly admin: HostPort;
  /** How long running requests may go on at the end, in seconds. */
  readonly drain: number;
  /** File of the access log; undefined: stdout. */
  readonly accessLog?: string;
  /** Failure domain of its cluster that it stands in. */
  readonly zone?: string;
}

/** What a proxy is made of. */
export interface ProxyStart {
  readonly options: ProxyRunOptions;
  readonly log: LeveledLogger;
  /** Undefined: a proxy by itself, without mTLS. */
  readonly identity?: RotatingIdentity;
  readonly succession: Succession;
  /** What it serves with; absent: what the options say. */
  readonly plane?: DataPlane;
  /** Ports of another data plane of this process. */
  readonly otherPorts?: readonly number[];
  readonly source: SnapshotSource;
  readonly report?: (reports: readonly ServiceReport[], mesh: HostPort | undefined) => void;
  /**
   * What the command fails with if listeners do not open at the start. Absent: they are tried again with each
   * snapshot.
   */
  readonly failure?: (failed: readonly ListenerStatus[]) => CommandError;
}

const LOCAL_CORE = coreOf("local" as MeshName);

/** Level from `ESPALIER_LOG`: debug, info, warn or error. */
export function proxyLog(): LeveledLogger {
  return jsonLogger(parseLogLevel(process.env["ESPALIER_LOG"]) ?? "info");
}

/** A data plane of this process, or of several workers. */
function newPlane(start: ProxyStart): DataPlane {
  const { workers, accessLog } = start.options;
  if (workers === 1) return mainPlane(start);
  checkAccessLog(accessLog);
  const program = new URL(import.meta.resolve("#cli/worker.ts"));
  const { held } = start.succession;
  return new WorkerPool({ ...portsOf(start), workers, accessLog, program, held });
}

/** The data plane of a proxy without workers. */
export function mainPlane(start: ProxyStart): LocalPlane {
  const file = start.options.accessLog;
  checkAccessLog(file);
  const accessLog = new LineLog(file, systemClock, start.log);
  return localPlane(start, { accessLog, process: "main" });
}

/** A data plane of this process. */
export function localPlane(
  start: ProxyStart,
  own: Pick<LocalPlaneOptions, "accessLog" | "process" | "labels">,
): LocalPlane {
  const { identity, succession } = start;
  const cluster: ClusterName = identity?.current().cluster ?? LOCAL_CORE;
  const place = { cluster, reusePort: SHARES_PORTS, held: succession.held };
  return new LocalPlane({ ...portsOf(start), ...place, ...own });
}

function portsOf({ log, identity, options: { zone } }: ProxyStart) {
  return { clock: systemClock, rng: systemRng(), log, zone, ...(identity && { identity }) };
}

function checkAccessLog(file: string | undefined): void {
  const problem = file === undefined ? undefined : problemWith(file);
  if (problem !== undefined) throw usage(`--access-log: ${problem}`);
}

/** Starts a proxy and says on stdout, one JSON line each, which listeners are ready. */
export async function runProxy(start: ProxyStart): Promise<RunningProxy> {
  const running = new ProxyRun(start);
  await running.start();
  return running;
}

class ProxyRun implements RunningProxy {
  readonly #start: ProxyStart;
  readonly #plane: DataPlane;
  readonly #proxy: ProxyProcess;
  #admin: AdminServer | undefined = undefined;
  #opened = false;
  #stopped = false;
  #end: { resolve: () => void; reject: (error: unknown) => void } | undefined = undefined;
  readonly ended: Promise<void>;

  constructor(start: ProxyStart) {
    const { source, report, log, succession, plane } = start;
    this.#start = start;
    this.#plane = plane ?? newPlane(start);
    const base = { clock: systemClock, plane: this.#plane, source, log, version: VERSION };
    this.#proxy = new ProxyProcess(report === undefined ? base : { ...base, report });
    this.ended = new Promise((resolve, reject) => {
      this.#end = { resolve, reject };
    });
    // Whoever waits for it hears of it; before, `start` throws by itself.
    this.ended.catch(() => {});
    void succession.replaced.then(() => this.#end!.resolve());
  }

  async start(): Promise<void> {
    const { options, succession, failure } = this.#start;
    const { before } = succession;
    if (before?.admin === undefined || before.admin !== options.admin.port) {
      const problem = await this.#openAdmin();
      if (problem !== undefined) {
        succession.close();
        await this.#plane.drain(0);
        throw usage(`--admin: ${problem}`);
      }
    }
    this.#proxy.start();
    const opening = this.#open();
    // A proxy that has joined may wait long for its first snapshot; it is up nevertheless.
    if (failure !== undefined) await opening;
    else {
      opening.catch((error: unknown) => this.#end!.reject(error));
      if (before === undefined) this.#serveSuccessors();
    }
  }

  reopenLogs(): void {
    this.#plane.reopenLogs();
  }

  async stop(maxMs: number): Promise<void> {
    this.#stopped = true;
    this.#start.succession.close();
    await this.#proxy.stop(maxMs);
    await this.#admin?.close();
  }

  /** Until it could serve alone nothing is taken from the process before. */
  async #open(): Promise<void> {
    const { succession, failure, log, options } = this.#start;
    await this.#proxy.started;
    const statuses = await this.#settled();
    const failed = statuses.filter(({ problem }) => problem !== undefined);
    if (failed.length > 0 && (failure !== undefined || succession.before !== undefined)) {
      // Clients may have come meanwhile: they are not to suffer for it.
      await this.stop(options.drain * 1_000);
      throw failure?.(failed) ?? fail(failed.map((l) => `${l.name}: ${l.problem}`).join("\n"));
    }
    for (const { name, problem } of failed)
      log.error("listener not open", { listener: name, problem });
    await succession.take();
    this.#opened = true;
    for (const { name, bound } of statuses) {
      if (bound !== undefined) jsonLine({ event: "ready", listener: name, ...bound });
    }
    this.#serveSuccessors();
    while (this.#admin === undefined && !this.#stopped) {
      const problem = await this.#openAdmin();
      if (problem === undefined) break;
      log.warn("admin port not open yet", { problem });
      await sleep(systemClock, ADMIN_RETRY_MS);
    }
    await this.#proxy.report();
  }

  async #settled(): Promise<readonly ListenerStatus[]> {
    try {
      return await this.#proxy.settled();
    } catch (error) {
      await this.stop(0);
      throw fail((error as Error).message);
    }
  }

  #serveSuccessors(): void {
    const { succession, otherPorts = [] } = this.#start;
    succession.serve({
      offer: async () => {
        // One without a snapshot has no ports yet.
        const statuses = this.#opened ? await this.#proxy.settled() : [];
        const ports = [...otherPorts, ...statuses.flatMap(({ bound }) => bound?.port ?? [])];
        const base = { pid: process.pid, ports };
        return this.#admin === undefined ? base : { ...base, admin: this.#admin.port };
      },
      release: async () => this.#admin?.close(),
    });
  }

  /** Why it cannot be opened; undefined: it is open. */
  async #openAdmin(): Promise<string | undefined> {
    const { options } = this.#start;
    const admin = await openAdmin({ ...options.admin, routes: this.#proxy.adminRoutes() });
    if (!admin.ok) return admin.error;
    this.#admin = admin.value;
    const { address, port } = admin.value;
    jsonLine({ event: "ready", listener: "admin", address, port });
    return undefined;
  }
}
