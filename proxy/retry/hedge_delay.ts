import type { Millis } from "#kernel/brand.ts";

/** Answers that are needed before their times say anything. */
const SAMPLES_LEAST = 50;
/** Then all counts are halved: what was long ago is forgotten by and by. */
const SAMPLES_MOST = 2_000;
/** The percentile is looked up again after so many answers. */
const LOOK_EVERY = 16;
/** Buckets grow by a tenth each from 0.1 ms on: the last one begins at 110 s. */
const FIRST_MS: Millis = 0.1;
const GROWTH = Math.log(1.1);
const BUCKETS = 147;

/** What the policy of a service says of second tries. */
export interface HedgeRules {
  /** 50 to 99.9. */
  readonly percentile: number;
  readonly minDelayMs?: Millis | undefined;
}

/**
 * How long the head of an answer may take until a second try is worth it: a percentile of the times that were seen,
 * within a tenth. Fixed memory (logarithmic buckets), one store per answer.
 */
export class HedgeDelay {
  #rules: HedgeRules;
  readonly #counts = new Float64Array(BUCKETS);
  #total = 0;
  #untilLook = 0;
  #delayMs: Millis | undefined = undefined;

  constructor(rules: HedgeRules) {
    this.#rules = rules;
  }

  /** Other rules from now on; what was seen stays. */
  follow(rules: HedgeRules): void {
    this.#rules = rules;
    this.#untilLook = 0;
  }

  /** @param latencyMs from the start of the first try to the head of the answer, whichever try got it. */
  add(latencyMs: Millis): void {
    const bucket = latencyMs <= FIRST_MS ? 0 : Math.ceil(Math.log(latencyMs / FIRST_MS) / GROWTH);
    this.#counts[Math.min(bucket, BUCKETS - 1)]! += 1;
    this.#total++;
    this.#untilLook--;
    if (this.#total < SAMPLES_MOST) return;
    this.#total = 0;
    for (let i = 0; i < BUCKETS; i++) {
      this.#counts[i]! /= 2;
      this.#total += this.#counts[i]!;
    }
  }

  /** Undefined: too little is known. */
  get delayMs(): Millis | undefined {
    if (this.#total < SAMPLES_LEAST) return undefined;
    if (this.#untilLook <= 0) {
      this.#untilLook = LOOK_EVERY;
      this.#delayMs = Math.max(this.#rules.minDelayMs ?? 0, this.#percentile());
    }
    return this.#delayMs;
  }

  /** The upper bound of the bucket in which it lies. */
  #percentile(): Millis {
    const rank = (this.#total * this.#rules.percentile) / 100;
    let below = 0;
    let bucket = 0;
    while (bucket < BUCKETS - 1) {
      below += this.#counts[bucket]!;
      if (below >= rank) break;
      bucket++;
    }
    return FIRST_MS * Math.exp(bucket * GROWTH);
  }
}
