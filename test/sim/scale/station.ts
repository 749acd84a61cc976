import type { Millis } from "#kernel/brand.ts";
import type { EventQueue } from "#test/sim/scale/event_queue.ts";

/** A request as an endpoint has it. */
export interface Job {
  /** Nobody waits for it any more. */
  isOver(): boolean;
  /** Of its work, in mean service times. */
  readonly work: number;
  served(): void;
}

/** How an endpoint behaves. `poisoned`: answers 500 at once, without any work. */
export type Mode = "well" | "dead" | "poisoned";

/** One endpoint: some servers and a queue before them (M/G/c): overload is time first, and then time-outs. */
export class Station {
  readonly servers: number;
  mode: Mode = "well";
  /** Its service times are multiplied by it. */
  slowness = 1;
  /** Most that ran or waited here since it was last asked. */
  peak = 0;
  readonly #queue: EventQueue;
  readonly #meanMs: Millis;
  readonly #waiting: Job[] = [];
  #head = 0;
  #busy = 0;

  constructor(queue: EventQueue, servers: number, meanMs: Millis) {
    this.#queue = queue;
    this.servers = servers;
    this.#meanMs = meanMs;
  }

  /** Running and waiting. */
  get inflight(): number {
    return this.#busy + this.#waiting.length - this.#head;
  }

  enter(job: Job): void {
    if (this.#busy < this.servers) this.#serve(job);
    else this.#waiting.push(job);
    if (this.inflight > this.peak) this.peak = this.inflight;
  }

  /** What runs here and what waits: as a process that dies leaves it. */
  clear(): void {
    this.#waiting.length = 0;
    this.#head = 0;
  }

  #serve(job: Job): void {
    this.#busy++;
    this.#queue.after(job.work * this.#meanMs * this.slowness, () => {
      this.#busy--;
      // What has been started is finished, even if its client is gone.
      if (!job.isOver()) job.served();
      this.#next();
    });
  }

  #next(): void {
    const waiting = this.#waiting;
    while (this.#head < waiting.length) {
      const job = waiting[this.#head++]!;
      // A closed connection takes its request out of the queue.
      if (job.isOver()) continue;
      this.#serve(job);
      break;
    }
    if (this.#head > 64 && this.#head * 2 > waiting.length) {
      waiting.splice(0, this.#head);
      this.#head = 0;
    }
  }
}
