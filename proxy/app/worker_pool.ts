import { randomBytes } from "node:crypto";
import type { IdentitySource } from "#certs/identity/identity.ts";
import { backoffMs, RECONNECT } from "#kernel/backoff.ts";
import type { Millis } from "#kernel/brand.ts";
import type { Clock, Timer } from "#kernel/clock.ts";
import type { LeveledLogger, LogLevel } from "#kernel/log.ts";
import { countersOf, Metrics, type MetricsData, mergedText } from "#kernel/metrics.ts";
import { registerProcess } from "#kernel/process_metrics.ts";
import type { Rng } from "#kernel/rng.ts";
import { mergeReports, type ServiceReport } from "#model/report.ts";
import type { Snapshot } from "#model/snapshot.ts";
import type { DataPlane, ListenerStatus } from "#proxy/app/data_plane.ts";
import type { AskedRequest, Explanation } from "#proxy/app/explain.ts";
import type { HeldPorts } from "#proxy/app/held_ports.ts";
import type { Inventory } from "#proxy/app/inventory.ts";
import { WorkerChecks } from "#proxy/app/worker_checks.ts";
import type { Answers, Question, ToWorker } from "#proxy/app/worker_messages.ts";
import { WorkerProcess } from "#proxy/app/worker_process.ts";

/** How long a worker may take to answer the primary before it is ended as hung. */
const ANSWER_MS: Millis = 10_000;
/** The first time it also has to start, perhaps beside many others. */
const FIRST_ANSWER_MS: Millis = 30_000;
/** A worker that lived this long starts its back-off anew. */
const STABLE_MS = 30_000;
/** This many may end before one has served, or twice as many as there are: then the start has failed. */
const START_ENDS = 5;

export interface WorkerPoolOptions {
  readonly workers: number;
  /** Failure domain of the cluster that they stand in; absent: not told. */
  readonly zone?: string | undefined;
  /** The program of a worker: a file that makes a `Worker`. */
  readonly program: URL;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: LeveledLogger;
  /** File of the access log; undefined: stdout. */
  readonly accessLog: string | undefined;
  readonly identity?: IdentitySource;
  /** Ports that the process has that this one takes over from. */
  readonly held: HeldPorts;
  /** For tests: in place of the limits above. */
  readonly answerMs?: Millis;
}

interface Worker {
  readonly index: number;
  process: WorkerProcess | undefined;
  crashes: number;
  /** Until it is started again. */
  pause: Timer | undefined;
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
  readonly #metrics = new Metrics();
  readonly #checks = new WorkerChecks();
  /** What workers had counted that are gone: a sum that shrinks would be taken for a restart of all. */
  #departed: MetricsData = [];
  #snapshot: Snapshot | undefined = undefined;
  /** What the system chose for listeners with port 0, by name. */
  #chosen: ReadonlyMap<string, number> = new Map();
  /** Ports that workers have open, whoever else has them. */
  #bound: readonly number[] = [];
  #onHealth: (() => void) | undefined = undefined;
  #closing = false;
  #restarts = 0;
  /** A worker has opened its listeners. */
  #served = false;
  /** One worker is opening the newest snapshot's listeners, and the others wait for it. */
  #spreading = false;
  #onStarted: Array<() => void> = [];
  /** Why the last worker ended. */
  #lastEnd = "";
  /** The newest snapshot's listeners, once a first worker has bound its ports. */
  #settling: Promise<readonly ListenerStatus[]> = Promise.resolve([]);

  constructor(options: WorkerPoolOptions) {
    this.#options = options;
    options.identity?.onRotate((identity) => this.#tellAll({ kind: "identity", identity }));
    this.#register();
    for (let index = 0; index < options.workers; index++) {
      const worker: Worker = { index, process: undefined, crashes: 0, pause: undefined };
      this.#workers.push(worker);
      this.#start(worker);
    }
    // Who is asked twice to end ends at once, and its workers with it.
    process.once("exit", () => {
      if (this.#closing) for (const worker of this.#workers) worker.process?.kill();
    });
  }

  apply(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    this.#checks.follow(snapshot);
    this.#spreading = true;
    this.#settling = this.#spread(snapshot);
    this.#settling.catch(() => {});
  }

  async settled(): Promise<readonly ListenerStatus[]> {
    const statuses = await this.#settling;
    if (this.#closing) return statuses;
    if (!this.#running().some(({ serving }) => serving)) {
      return statuses.map(({ name }) => ({ name, problem: this.#noWorker() }));
    }
    return statuses.map((status) => this.#asEachSays(status));
  }

  /** A worker that does not answer counts as it did last. */
  async metricsText(): Promise<string> {
    // Together: who departs while we ask is in one of the two, and not in both.
    const departed = this.#departed;
    const asked = this.#running().map(async (worker) => {
      const said = await worker.look({ kind: "metrics" });
      if (said.kind === "said" && said.value !== undefined) worker.metrics = said.value;
      const last = worker.metrics ?? [];
      return said.kind === "gone" ? countersOf([last]) : last;
    });
    const own = await this.#metrics.data();
    return mergedText([own, departed, ...(await Promise.all(asked))]);
  }

  async reports(): Promise<readonly ServiceReport[]> {
    return mergeReports(await this.#lookAtAll({ kind: "reports" }));
  }

  watchHealth(onNews: () => void): void {
    this.#onHealth = onNews;
    this.#tellAll({ kind: "watch_health" });
  }

  reopenLogs(): void {
    this.#tellAll({ kind: "reopen_logs" });
  }

  setWorkersLogLevel(level: LogLevel): void {
    this.#tellAll({ kind: "log_level", level });
  }

  async inventory(): Promise<readonly Inventory[]> {
    return (await this.#lookAtAll({ kind: "inventory" })).flat();
  }

  async explain(asked: AskedRequest): Promise<Explanation> {
    for (const worker of this.#running()) {
      const said = await worker.look({ kind: "explain", asked });
      if (said.kind === "said" && said.value !== undefined) return said.value;
    }
    return { url: asked.url, cluster: "", services: [], problem: "no worker is running" };
  }

  async drain(maxMs: Millis): Promise<void> {
    this.#closing = true;
    for (const { pause } of this.#workers) pause?.cancel();
    for (const started of this.#onStarted.splice(0)) started();
    await Promise.all(this.#running().map((worker) => worker.drain(maxMs)));
  }

  /**
   * One worker binds the ports; what the system chose for a port of 0 is then written into the snapshot for
   * the others, and for workers that start later.
   */
  async #spread(snapshot: Snapshot): Promise<readonly ListenerStatus[]> {
    for (;;) {
      const first = await this.#firstToAnswer();
      // Another snapshot has come: whoever waits for this one gets what became of that.
      if (this.#snapshot !== snapshot) return this.#settling;
      if (first === undefined) throw new Error(this.#noWorker());
      this.#give(first, snapshot);
      const said = await first.ask({ kind: "settled" });
      if (this.#snapshot !== snapshot) return this.#settling;
      if (said.kind === "gone") continue;
      const statuses = said.value ?? [];
      this.#served = true;
      this.#spreading = false;
      this.#bound = statuses.flatMap(({ bound }) => bound?.port ?? []);
      this.#chosen = chosenPorts(snapshot, statuses);
      const others = this.#running().filter((worker) => worker !== first);
      for (const worker of others) this.#give(worker, snapshot);
      await Promise.all(others.map((worker) => worker.ask({ kind: "settled" })));
      return statuses;
    }
  }

  /** A worker that is there and does not hang. Undefined: there will be none. */
  async #firstToAnswer(): Promise<WorkerProcess | undefined> {
    const endsMax = Math.max(START_ENDS, 2 * this.#workers.length);
    for (;;) {
      const first = await quickest(this.#running());
      if (first !== undefined) return first;
      if (this.#closing || (!this.#served && this.#restarts >= endsMax)) return undefined;
      if (this.#running().length > 0) continue;
      await new Promise<void>((resolve) => this.#onStarted.push(resolve));
    }
  }

  #start(worker: Worker): void {
    const { program, identity, clock, log, accessLog, zone, workers } = this.#options;
    const { answerMs = ANSWER_MS, answerMs: firstAnswerMs = FIRST_ANSWER_MS } = this.#options;
    const started = new WorkerProcess({
      ...{ program, clock, answerMs, firstAnswerMs },
      onVerdict: (verdict) => this.#checks.heard(started, verdict),
      onHealth: () => this.#onHealth?.(),
      onEnd: (why) => this.#restart(worker, started, why),
    });
    worker.process = started;
    const ticketKeys = this.#ticketKeys;
    const begin = { kind: "begin", ticketKeys, accessLog, logLevel: log.level } as const;
    started.tell({ ...begin, zone, workers, process: `worker-${worker.index}` });
    if (identity !== undefined) started.tell({ kind: "identity", identity: identity.current() });
    if (this.#onHealth !== undefined) started.tell({ kind: "watch_health" });
    for (const waiting of this.#onStarted.splice(0)) waiting();
    if (this.#snapshot === undefined || this.#spreading) return;
    this.#give(started, this.#snapshot);
    // One that hangs at its start is found out by that.
    void started.ask({ kind: "settled" });
  }

  #give(worker: WorkerProcess, snapshot: Snapshot): void {
    const listeners = snapshot.listeners.map((listener) => {
      if (listener.port !== 0 || worker.chose.has(listener.name)) return listener;
      const port = this.#chosen.get(listener.name);
      if (port !== undefined) return { ...listener, port };
      worker.chose.add(listener.name);
      return listener;
    });
    const held = [...this.#bound, ...this.#options.held.all()];
    worker.tell({ kind: "snapshot", snapshot: { ...snapshot, listeners }, held });
    this.#checks.given(worker);
  }

  #restart(worker: Worker, ended: WorkerProcess, why: string): void {
    worker.process = undefined;
    this.#lastEnd = why;
    if (this.#closing) return;
    this.#checks.ended(ended);
    this.#departed = countersOf([this.#departed, ended.metrics ?? []]);
    const { clock, rng, log } = this.#options;
    if (clock.now() - ended.startedAt > STABLE_MS) worker.crashes = 0;
    this.#restarts++;
    const delayMs = backoffMs(RECONNECT, worker.crashes++, rng);
    log.error("worker ended; starting another", { worker: worker.index, why, delayMs });
    // Also without a new one: who waits for one must hear when there are too many.
    for (const waiting of this.#onStarted.splice(0)) waiting();
    worker.pause = clock.after(delayMs, () => this.#start(worker));
  }

  /** A listener of which one worker has no socket is not well, though others serve it. */
  #asEachSays(status: ListenerStatus): ListenerStatus {
    if (status.problem !== undefined) return status;
    for (const { index, process: running } of this.#workers) {
      const own = running?.listeners.find(({ name }) => name === status.name);
      if (own?.problem !== undefined)
        return { ...status, problem: `worker ${index}: ${own.problem}` };
    }
    return status;
  }

  #running(): WorkerProcess[] {
    return this.#workers.flatMap(({ process: running }) => running ?? []);
  }

  #noWorker(): string {
    return `no worker process serves: the last one ended (${this.#lastEnd})`;
  }

  #tellAll(message: ToWorker): void {
    for (const worker of this.#running()) worker.tell(message);
  }

  async #lookAtAll<Q extends Question>(question: Q): Promise<Array<Answers[Q["kind"]]>> {
    const all = await Promise.all(this.#running().map((worker) => worker.look(question)));
    return all.flatMap((said) =>
      said.kind === "said" && said.value !== undefined ? [said.value] : [],
    );
  }

  #register(): void {
    registerProcess(this.#metrics, "main");
    const one = (value: () => number) => () => [{ labels: [], value: value() }];
    this.#metrics.gauge(
      { name: "espalier_workers", help: "Worker processes that are to run.", labels: [] },
      one(() => this.#options.workers),
    );
    this.#metrics.gauge(
      { name: "espalier_workers_running", help: "Worker processes that run now.", labels: [] },
      one(() => this.#running().length),
    );
    this.#metrics.counter(
      {
        name: "espalier_worker_restarts_total",
        help: "Worker processes that ended by themselves and were started again.",
        labels: [],
      },
      one(() => this.#restarts),
    );
  }
}

/** Whichever says something first; undefined once all have ended. */
function quickest(workers: readonly WorkerProcess[]): Promise<WorkerProcess | undefined> {
  return new Promise((resolve) => {
    const all = workers.map(async (worker) => {
      if ((await worker.ask({ kind: "settled" })).kind === "said") resolve(worker);
    });
    void Promise.all(all).then(() => resolve(undefined));
  });
}

function chosenPorts(
  { listeners }: Snapshot,
  statuses: readonly ListenerStatus[],
): ReadonlyMap<string, number> {
  const chosen = new Map<string, number>();
  for (const { name, bound } of statuses) {
    const isChosen = listeners.some((listener) => listener.name === name && listener.port === 0);
    if (bound !== undefined && isChosen) chosen.set(name, bound.port);
  }
  return chosen;
}
