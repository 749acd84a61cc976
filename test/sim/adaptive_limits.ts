import { type Rng, seededRng } from "#kernel/rng.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";

/** What is compared: the production limit and the two of the literature beside it. */
export interface Limiter {
  readonly limit: number;
  sample(latencyMs: number, inflight: number, dropped: boolean, now: number): void;
}

/** How the upstream and its clients are at a moment. */
export interface Conditions {
  /** Requests that it works on at once; the others wait in its queue. */
  readonly servers: number;
  /** Median of the work of one request, ms. */
  readonly serviceMs: number;
  /** σ of its logarithm: 0 is always the same. */
  readonly sigma: number;
  /** There and back, ms. */
  readonly rttMs: number;
  /** Requests per second that clients want to send; they do not wait for each other. */
  readonly rate: number;
  /** Its queue is full at that many: more are turned away at once. */
  readonly queueMax: number;
}

/** 100 servers, 20 ms each: 4,800 requests/s at most. */
export const HUNDRED_SERVERS: Conditions = {
  servers: 100,
  serviceMs: 20,
  sigma: 0.3,
  rttMs: 1,
  rate: 2_000,
  queueMax: 100_000,
};

/** What happened in one phase. */
export interface Phase {
  readonly asked: number;
  /** Not sent because the limit was reached. */
  readonly held: number;
  readonly served: number;
  readonly dropped: number;
  /** Response times of those served, ms. */
  readonly p50: number;
  readonly p99: number;
  /** The limit at the end, its lowest and its highest value. */
  readonly limit: number;
  readonly low: number;
  readonly high: number;
  /** The smallest ratio of limit to requests running that was seen. */
  readonly slack: number;
}

/** One upstream of several servers with one queue, before it a link and a limit. */
export class LimitedUpstream {
  readonly clock = new VirtualClock();
  readonly limiter: Limiter;
  readonly #rng: Rng;
  #now: Conditions;
  #inflight = 0;
  #busy = 0;
  /** Waiting, from `#first` on. */
  #queue: Array<() => void> = [];
  #first = 0;
  #run = 0;
  readonly #latencies: number[] = [];
  #asked = 0;
  #held = 0;
  #dropped = 0;
  #low = Number.POSITIVE_INFINITY;
  #high = 0;
  #slack = Number.POSITIVE_INFINITY;

  constructor(limiter: Limiter, conditions: Conditions, seed: number) {
    this.limiter = limiter;
    this.#now = conditions;
    this.#rng = seededRng(seed);
  }

  /** Lets `ms` pass under conditions that differ so from the last ones. */
  phase(ms: number, changes: Partial<Conditions> = {}): Phase {
    return this.phases(1, () => [ms, changes]);
  }

  /** Several in a row, counted as one: how long each is, and what is different from then on. */
  phases(count: number, at: (i: number) => readonly [number, Partial<Conditions>]): Phase {
    this.#latencies.length = 0;
    this.#asked = 0;
    this.#held = 0;
    this.#dropped = 0;
    this.#low = Number.POSITIVE_INFINITY;
    this.#high = 0;
    this.#slack = Number.POSITIVE_INFINITY;
    for (let i = 0; i < count; i++) {
      const [ms, changes] = at(i);
      this.#now = { ...this.#now, ...changes };
      this.#work();
      this.#arrive(++this.#run);
      this.clock.advance(ms);
    }
    const sorted = this.#latencies.toSorted((a, b) => a - b);
    return {
      asked: this.#asked,
      held: this.#held,
      served: sorted.length,
      dropped: this.#dropped,
      p50: sorted[sorted.length >> 1] ?? 0,
      p99: sorted[Math.floor(sorted.length * 0.99)] ?? 0,
      limit: this.limiter.limit,
      low: this.#low,
      high: this.#high,
      slack: this.#slack,
    };
  }

  #arrive(run: number): void {
    if (run !== this.#run) return;
    const gap = (-Math.log(1 - this.#rng.next()) * 1000) / this.#now.rate;
    this.clock.after(gap, () => {
      if (run !== this.#run) return;
      this.#arrive(run);
      this.#ask();
    });
  }

  #ask(): void {
    this.#asked++;
    if (this.#inflight >= this.limiter.limit) {
      this.#held++;
      return;
    }
    this.#inflight++;
    const sentAt = this.clock.now();
    const way = this.#now.rttMs / 2;
    this.clock.after(way, () => {
      if (this.#queue.length - this.#first >= this.#now.queueMax) {
        this.clock.after(way, () => this.#end(sentAt, true));
        return;
      }
      this.#queue.push(() => this.clock.after(way, () => this.#end(sentAt, false)));
      this.#work();
    });
  }

  #work(): void {
    while (this.#busy < this.#now.servers && this.#first < this.#queue.length) {
      const done = this.#queue[this.#first++]!;
      if (this.#first > 10_000) {
        this.#queue = this.#queue.slice(this.#first);
        this.#first = 0;
      }
      this.#busy++;
      this.clock.after(this.#now.serviceMs * Math.exp(this.#now.sigma * this.#gauss()), () => {
        this.#busy--;
        done();
        this.#work();
      });
    }
  }

  #end(sentAt: number, dropped: boolean): void {
    const now = this.clock.now();
    const inflight = this.#inflight--;
    if (dropped) this.#dropped++;
    else this.#latencies.push(now - sentAt);
    this.limiter.sample(now - sentAt, inflight, dropped, now);
    const { limit } = this.limiter;
    this.#low = Math.min(this.#low, limit);
    this.#high = Math.max(this.#high, limit);
    this.#slack = Math.min(this.#slack, limit / inflight);
  }

  #gauss(): number {
    const r = Math.sqrt(-2 * Math.log(1 - this.#rng.next()));
    return r * Math.cos(2 * Math.PI * this.#rng.next());
  }
}
