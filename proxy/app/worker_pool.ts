import { type ChildProcess, fork } from "node:child_process";
import { randomBytes } from "node:crypto";
import type { IdentitySource } from "#certs/identity/identity.ts";
import { backoffMs, RECONNECT } from "#kernel/backoff.ts";
import type { Millis } from "#kernel/brand.ts";
import type { Clock } from "#kernel/clock.ts";
import type { LeveledLogger, LogLevel } from "#kernel/log.ts";
import { mergedText } from "#kernel/metrics.ts";
import type { Rng } from "#kernel/rng.ts";
import type { ServiceReport } from "#model/report.ts";
import type { Snapshot } from "#model/snapshot.ts";
import type { DataPlane, ListenerStatus } from "#proxy/app/data_plane.ts";
import type { AskedRequest, Explanation } from "#proxy/app/explain.ts";
import type { Inventory } from "#proxy/app/inventory.ts";
import { mergeReports } from "#proxy/app/reports.ts";
import type { Answers, FromWorker, Question, ToWorker } from "#proxy/app/worker_messages.ts";
import type { Verdict } from "#proxy/subscribe/source.ts";

/** How long a worker may take to answer the primary before it is left out. */
const ANSWER_TIMEOUT_MS = 10_000;
/** A worker that lived this long starts its back-off anew. */
const STABLE_MS = 30_000;

export interface WorkerPoolOptions {
  readonly workers: number;
  /** The program of a worker: a file that calls `runWorker`. */
  readonly program: URL;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: LeveledLogger;
  /** File of the access log; undefined: stdout. */
  readonly accessLog: string | undefined;
  readonly identity?: IdentitySource;
}

interface Worker {
  readonly index: number;
  process: ChildProcess | undefined;
  startedAt: Millis;
  crashes: number;
}

/**
 * Several processes that share ports by SO_REUSEPORT. The primary holds no request: a worker that
 * crashes loses its own connections and is started again after a back-off.
 */
export class WorkerPool implements DataPlane {
  readonly #options: WorkerPoolOptions;
  /** Of TLS sessions: whichever worker a client meets next can resume its session. */
  readonly #ticketKeys = randomBytes(48);
  readonly #workers: Worker[] = [];
  readonly #asked = new Map<number, (value: Answers[keyof Answers] | undefined) => void>();
  #snapshot: Snapshot | undefined = undefined;
  #nextId = 1;
  #closing = false;
  /** The newest snapshot's listeners, once the first worker has bound its ports. */
  #settling: Promise<readonly ListenerStatus[]> = Promise.resolve([]);

  constructor(options: WorkerPoolOptions) {
    this.#options = options;
    options.identity?.onRotate((identity) => this.#tellAll({ kind: "identity", identity }));
    for (let index = 0; index < options.workers; index++) {
      const worker: Worker = { index, process: undefined, startedAt: 0, crashes: 0 };
      this.#workers.push(worker);
      this.#start(worker);
    }
  }

  apply(snapshot: Snapshot): Verdict {
    this.#settling = this.#spread(snapshot);
    return { kind: "ack", revision: snapshot.revision };
  }

  settled(): Promise<readonly ListenerStatus[]> {
    return this.#settling;
  }

  async metricsText(): Promise<string> {
    return mergedText(await this.#askAll({ kind: "metrics" }));
  }

  async reports(): Promise<readonly ServiceReport[]> {
    return mergeReports(await this.#askAll({ kind: "reports" }));
  }

  reopenLogs(): void {
    this.#tellAll({ kind: "reopen_logs" });
  }

  setWorkersLogLevel(level: LogLevel): void {
    this.#tellAll({ kind: "log_level", level });
  }

  async inventory(): Promise<readonly Inventory[]> {
    return (await this.#askAll({ kind: "inventory" })).flat();
  }

  async explain(asked: AskedRequest): Promise<Explanation> {
    const question = { kind: "explain", asked } as const;
    const answer = await this.#ask(this.#workers[0]!, question);
    return answer ?? { url: asked.url, cluster: "", services: [], problem: "no worker is running" };
  }

  async drain(maxMs: Millis): Promise<void> {
    this.#closing = true;
    await Promise.all(this.#workers.map((worker) => this.#end(worker, maxMs)));
  }

  /**
   * The first worker binds the ports; what the system chose for a port of 0 is then written into
   * the snapshot for the others, and for workers that start later.
   */
  async #spread(snapshot: Snapshot): Promise<readonly ListenerStatus[]> {
    const [first, ...others] = this.#workers;
    this.#snapshot = snapshot;
    this.#tell(first!, { kind: "snapshot", snapshot });
    const statuses = (await this.#ask(first!, { kind: "settled" })) ?? [];
    if (this.#snapshot !== snapshot) return statuses;
    const bound = withPorts(snapshot, statuses);
    this.#snapshot = bound;
    for (const worker of others) this.#tell(worker, { kind: "snapshot", snapshot: bound });
    await Promise.all(others.map((worker) => this.#ask(worker, { kind: "settled" })));
    return statuses;
  }

  #start(worker: Worker): void {
    const { program, identity, clock, log } = this.#options;
    const child = fork(program, { serialization: "advanced", execArgv: process.execArgv });
    worker.process = child;
    worker.startedAt = clock.now();
    child.on("message", (message) => this.#hear(message as FromWorker));
    child.on("error", (error) =>
      log.error("worker", { worker: worker.index, error: error.message }),
    );
    child.on("exit", (code, signal) => this.#restart(worker, signal ?? `code ${code}`));
    const ticketKeys = this.#ticketKeys;
    const { accessLog } = this.#options;
    this.#tell(worker, { kind: "begin", ticketKeys, accessLog, logLevel: log.level });
    if (identity !== undefined) {
      this.#tell(worker, { kind: "identity", identity: identity.current() });
    }
    if (this.#snapshot !== undefined) {
      this.#tell(worker, { kind: "snapshot", snapshot: this.#snapshot });
    }
  }

  #restart(worker: Worker, why: string): void {
    worker.process = undefined;
    if (this.#closing) return;
    const { clock, rng, log } = this.#options;
    if (clock.now() - worker.startedAt > STABLE_MS) worker.crashes = 0;
    const delayMs = backoffMs(RECONNECT, worker.crashes++, rng);
    log.error("worker ended; starting another", { worker: worker.index, why, delayMs });
    clock.after(delayMs, () => {
      if (!this.#closing) this.#start(worker);
    });
  }

  async #end(worker: Worker, maxMs: Millis): Promise<void> {
    const child = worker.process;
    if (child === undefined) return;
    const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    this.#tell(worker, { kind: "drain", maxMs });
    const timer = this.#options.clock.after(maxMs + ANSWER_TIMEOUT_MS, () => child.kill("SIGKILL"));
    await exited;
    timer.cancel();
  }

  #tellAll(message: ToWorker): void {
    for (const worker of this.#workers) this.#tell(worker, message);
  }

  #tell(worker: Worker, message: ToWorker): void {
    if (worker.process?.connected) worker.process.send(message, () => {});
  }

  #hear(message: FromWorker): void {
    this.#asked.get(message.id)?.(message.value);
  }

  /** Undefined if the worker does not answer in time. */
  async #ask<Q extends Question>(
    worker: Worker,
    question: Q,
  ): Promise<Answers[Q["kind"]] | undefined> {
    const id = this.#nextId++;
    const answer = new Promise<Answers[keyof Answers] | undefined>((resolve) => {
      this.#asked.set(id, resolve);
    });
    this.#tell(worker, { kind: "ask", id, question });
    const timeout = this.#options.clock.after(ANSWER_TIMEOUT_MS, () =>
      this.#asked.get(id)?.(undefined),
    );
    const value = await answer;
    timeout.cancel();
    this.#asked.delete(id);
    return value as Answers[Q["kind"]] | undefined;
  }

  async #askAll<Q extends Question>(question: Q): Promise<Array<Answers[Q["kind"]]>> {
    const all = await Promise.all(this.#workers.map((worker) => this.#ask(worker, question)));
    return all.filter((answer) => answer !== undefined);
  }
}

function withPorts(snapshot: Snapshot, statuses: readonly ListenerStatus[]): Snapshot {
  const listeners = snapshot.listeners.map((listener) => {
    const bound = statuses.find((status) => status.name === listener.name)?.bound;
    return bound === undefined ? listener : { ...listener, port: bound.port };
  });
  return { ...snapshot, listeners };
}
