import { LogHistogram } from "#bench/load/log_histogram.ts";

/**
 * How a request can end: by the status of its answer, `cut` when the connection ended before it was whole, `deadline`
 * when the client did not wait any longer.
 */
export const RESULTS = ["2xx", "4xx", "5xx", "cut", "deadline"] as const;
/** One of them. */
export type Result = (typeof RESULTS)[number];

/** One request as it is read back. */
export interface Entry {
  /** When it was due, ms after the start of the load. */
  readonly dueMs: number;
  /** From then, not from when it could be sent, to its end: waiting for a stalled server is counted. */
  readonly tookMs: number;
  readonly result: Result;
  /** 0: no whole answer. */
  readonly status: number;
  /** Name of its class; "": it said none. */
  readonly priority: string;
  /** `x-served-by` of the answer; "": none. */
  readonly by: string;
}

const FIRST_ROOM = 4_096;

/** Every request of a load, some 20 bytes each. */
export class RequestLog {
  #count = 0;
  #due = new Float64Array(FIRST_ROOM);
  #took = new Float32Array(FIRST_ROOM);
  #result = new Uint8Array(FIRST_ROOM);
  #status = new Uint16Array(FIRST_ROOM);
  #priority = new Uint8Array(FIRST_ROOM);
  #by = new Uint8Array(FIRST_ROOM);
  readonly #names: string[] = [""];

  get count(): number {
    return this.#count;
  }

  add({ dueMs, tookMs, result, status, priority, by }: Entry): void {
    if (this.#count === this.#due.length) this.#grow();
    const i = this.#count++;
    this.#due[i] = dueMs;
    this.#took[i] = tookMs;
    this.#result[i] = RESULTS.indexOf(result);
    this.#status[i] = status;
    this.#priority[i] = this.#numberOf(priority);
    this.#by[i] = this.#numberOf(by);
  }

  /** In the order in which they ended. */
  *entries(): Iterable<Entry> {
    for (let i = 0; i < this.#count; i++) {
      yield {
        dueMs: this.#due[i]!,
        tookMs: this.#took[i]!,
        result: RESULTS[this.#result[i]!]!,
        status: this.#status[i]!,
        priority: this.#names[this.#priority[i]!]!,
        by: this.#names[this.#by[i]!]!,
      };
    }
  }

  #numberOf(name: string): number {
    const known = this.#names.indexOf(name);
    return known >= 0 ? known : this.#names.push(name) - 1;
  }

  #grow(): void {
    this.#due = wider(this.#due, new Float64Array(2 * this.#count));
    this.#took = wider(this.#took, new Float32Array(2 * this.#count));
    this.#result = wider(this.#result, new Uint8Array(2 * this.#count));
    this.#status = wider(this.#status, new Uint16Array(2 * this.#count));
    this.#priority = wider(this.#priority, new Uint8Array(2 * this.#count));
    this.#by = wider(this.#by, new Uint8Array(2 * this.#count));
  }
}

function wider<T extends { set(from: T): void }>(from: T, to: T): T {
  to.set(from);
  return to;
}

/** What came of the requests of some span. */
export interface Span {
  readonly count: number;
  readonly results: Readonly<Record<Result, number>>;
  /** Response times of the good ones. */
  readonly good: LogHistogram;
  /** Who answered the good ones, and how many. */
  readonly by: ReadonlyMap<string, number>;
}

/** Of the requests that `of` takes. */
export function spanOf(log: RequestLog, of: (entry: Entry) => boolean): Span {
  const results = { "2xx": 0, "4xx": 0, "5xx": 0, cut: 0, deadline: 0 };
  const good = new LogHistogram();
  const by = new Map<string, number>();
  let count = 0;
  for (const entry of log.entries()) {
    if (!of(entry)) continue;
    count++;
    results[entry.result]++;
    if (entry.result !== "2xx") continue;
    good.record(entry.tookMs * 1_000);
    by.set(entry.by, (by.get(entry.by) ?? 0) + 1);
  }
  return { count, results, good, by };
}

/** Those that were due from `fromMs` on and before `toMs`. */
export function dueIn(fromMs: number, toMs: number): (entry: Entry) => boolean {
  return ({ dueMs }) => dueMs >= fromMs && dueMs < toMs;
}

/** A span for each second of the load, in which its requests were due. */
export function perSecond(log: RequestLog): Span[] {
  let last = 0;
  for (const { dueMs } of log.entries()) last = Math.max(last, dueMs);
  const seconds = Math.floor(last / 1_000) + 1;
  return Array.from({ length: seconds }, (_, i) => spanOf(log, dueIn(i * 1_000, (i + 1) * 1_000)));
}
