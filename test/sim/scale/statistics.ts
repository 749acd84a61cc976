import type { Millis } from "#kernel/brand.ts";

/** What one second of requests came to, by when they were sent. */
export interface Second {
  readonly offered: number;
  readonly served: number;
  readonly failed: number;
  /** Of all, failures at their deadline, ms. */
  readonly p99Ms: Millis;
  /** Share that crossed a link that is paid for. */
  readonly paid: number;
  /** The busiest receiver's requests over its servers. */
  readonly load: number;
}

/** One rule in one scenario. */
export interface Measured {
  readonly offered: number;
  readonly errorShare: number;
  readonly p50Ms: Millis;
  readonly p99Ms: Millis;
  readonly p999Ms: Millis;
  readonly paidShare: number;
  /** Seconds after the fault until all is as before; undefined: not in this time. */
  readonly recoverS: number | undefined;
  /** The receivers' highest load: requests over servers. */
  readonly overshoot: number;
  readonly seconds: readonly Second[];
}

/** How much worse than before still counts as recovered. */
const AS_BEFORE = 1.5;
/** An error rate below that is none. */
const FEW_ERRORS = 0.002;
/** Seconds that are judged together. */
const WINDOW = 5;

class Bucket {
  readonly latencies: number[] = [];
  offered = 0;
  failed = 0;
  paid = 0;
  load = 0;
}

/** Gathers what became of the requests of those clusters that a scenario is about. */
export class Statistics {
  readonly #buckets: Bucket[];
  readonly #deadlineMs: Millis;

  constructor(seconds: number, deadlineMs: Millis) {
    this.#buckets = Array.from({ length: seconds }, () => new Bucket());
    this.#deadlineMs = deadlineMs;
  }

  /** @param latencyMs undefined: it failed. */
  add(sentAt: Millis, latencyMs: Millis | undefined, paid: boolean): void {
    const bucket = this.#buckets[Math.floor(sentAt / 1_000)];
    if (bucket === undefined) return;
    bucket.offered++;
    if (latencyMs === undefined) bucket.failed++;
    // Who got an error at once has waited in vain as well.
    bucket.latencies.push(latencyMs ?? this.#deadlineMs);
    if (paid) bucket.paid++;
  }

  load(now: Millis, ratio: number): void {
    const bucket = this.#buckets[Math.floor(now / 1_000)];
    if (bucket !== undefined && ratio > bucket.load) bucket.load = ratio;
  }

  /** @param fromS when the fault begins; before it are `warmS` to `fromS`. */
  measure(warmS: number, fromS: number, toS: number): Measured {
    const judged = this.#buckets.slice(fromS, toS);
    const latencies = sorted(judged);
    const offered = latencies.length;
    return {
      offered,
      errorShare: share(judged, ({ failed }) => failed),
      p50Ms: at(latencies, 0.5),
      p99Ms: at(latencies, 0.99),
      p999Ms: at(latencies, 0.999),
      paidShare: share(judged, ({ paid }) => paid),
      recoverS: this.#recovery(warmS, fromS, toS),
      overshoot: Math.max(0, ...judged.map(({ load }) => load)),
      seconds: this.#buckets.slice(0, toS).map(secondOf),
    };
  }

  #recovery(warmS: number, fromS: number, toS: number): number | undefined {
    const before = this.#buckets.slice(warmS, fromS);
    const p99 = at(sorted(before), 0.99) * AS_BEFORE;
    const errors = Math.max(FEW_ERRORS, share(before, ({ failed }) => failed) * AS_BEFORE);
    let since = toS;
    for (let end = toS; end - WINDOW >= fromS; end--) {
      const window = this.#buckets.slice(end - WINDOW, end);
      if (share(window, ({ failed }) => failed) > errors) break;
      if (at(sorted(window), 0.99) > p99) break;
      since = end - WINDOW;
    }
    return since === toS ? undefined : since - fromS;
  }
}

function sorted(buckets: readonly Bucket[]): Float64Array {
  return Float64Array.from(buckets.flatMap(({ latencies }) => latencies)).sort();
}

/** The value below which that share of all lies; 0 of none. */
function at(latencies: Float64Array, part: number): Millis {
  const index = Math.min(latencies.length - 1, Math.floor(latencies.length * part));
  return latencies[index] ?? 0;
}

function share(buckets: readonly Bucket[], of: (bucket: Bucket) => number): number {
  const offered = buckets.reduce((sum, bucket) => sum + bucket.offered, 0);
  if (offered === 0) return 0;
  return buckets.reduce((sum, bucket) => sum + of(bucket), 0) / offered;
}

function secondOf(bucket: Bucket): Second {
  const { offered, failed, paid, load } = bucket;
  const p99Ms = at(sorted([bucket]), 0.99);
  return {
    ...{ offered, failed, served: offered - failed, p99Ms, load },
    paid: offered === 0 ? 0 : paid / offered,
  };
}
