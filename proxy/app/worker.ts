import { RotatingIdentity } from "#certs/identity/identity.ts";
import type { Clock } from "#kernel/clock.ts";
import type { LeveledLogger } from "#kernel/log.ts";
import type { Rng } from "#kernel/rng.ts";
import { HeldPorts } from "#proxy/app/held_ports.ts";
import { LocalPlane, type LocalPlaneOptions } from "#proxy/app/local_plane.ts";
import type { Answers, FromWorker, Question, ToWorker } from "#proxy/app/worker_messages.ts";
import { LineLog } from "#proxy/observe/line_log.ts";

export interface WorkerOptions {
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: LeveledLogger;
  /** To the primary. */
  readonly send: (message: FromWorker) => void;
  /** Called when the worker has drained and may end. */
  readonly onDrained: () => void;
}

/** A worker process's side of the pool: a proxy that does what the primary says. */
export class Worker {
  readonly #options: WorkerOptions;
  #identity: RotatingIdentity | undefined = undefined;
  #plane: LocalPlane | undefined = undefined;
  #draining = false;
  #watching = false;
  readonly #held = new HeldPorts();
  #begun: Extract<ToWorker, { kind: "begin" }> | undefined = undefined;

  constructor(options: WorkerOptions) {
    this.#options = options;
  }

  hear(message: ToWorker): void {
    switch (message.kind) {
      case "identity":
        if (this.#identity === undefined) this.#identity = new RotatingIdentity(message.identity);
        else this.#identity.rotate(message.identity);
        return;
      case "begin":
        this.#begun = message;
        this.#options.log.level = message.logLevel;
        return;
      case "log_level":
        this.#options.log.level = message.level;
        return;
      case "reopen_logs":
        this.#plane?.reopenLogs();
        return;
      case "snapshot":
        this.#held.replace(message.held);
        this.#plane ??= this.#begin(message.snapshot.cluster);
        this.#plane.apply(message.snapshot);
        this.#watchHealth();
        return;
      case "check":
        this.#plane?.setChecking(true);
        return;
      case "watch_health":
        this.#watching = true;
        this.#watchHealth();
        return;
      case "verdicts":
        this.#plane?.learn(message.verdicts);
        return;
      case "drain":
        void this.drain(message.maxMs);
        return;
      case "ask":
        void this.#answer(message.id, message.question);
        return;
      default:
        message satisfies never;
    }
  }

  /** Also when the primary is gone: a worker does not outlive it for long. A drain that runs goes on. */
  async drain(maxMs: number): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    await this.#plane?.drain(maxMs);
    this.#options.onDrained();
  }

  #begin(cluster: LocalPlaneOptions["cluster"]): LocalPlane {
    const { clock, rng, log, send } = this.#options;
    const identity = this.#identity;
    const { ticketKeys, accessLog, process, zone, workers } = this.#begun!;
    return new LocalPlane({
      ...{ cluster, clock, rng, log, zone, workers, reusePort: true, held: this.#held, process },
      ...(identity === undefined ? {} : { identity }),
      ticketKeys: Buffer.from(ticketKeys),
      accessLog: new LineLog(accessLog, clock, log),
      tellVerdict: (verdict) => send({ kind: "verdict", verdict }),
    });
  }

  #watchHealth(): void {
    if (this.#watching) this.#plane?.watchHealth(() => this.#options.send({ kind: "health" }));
  }

  async #answer(id: number, question: Question): Promise<void> {
    this.#options.send({ kind: "answer", id, value: await this.#ask(question) });
  }

  async #ask(question: Question): Promise<Answers[keyof Answers] | undefined> {
    const plane = this.#plane;
    if (plane === undefined) return undefined;
    switch (question.kind) {
      case "alive":
        return true;
      case "settled":
        return plane.settled();
      case "metrics":
        return plane.metricsData();
      case "reports":
        return plane.reports();
      case "inventory":
        return plane.inventory();
      case "explain":
        return plane.explain(question.asked);
      default:
        return question satisfies never;
    }
  }
}
