import type { Millis } from "#kernel/brand.ts";

/** Answers over which it is averaged. */
const AVERAGED = 32;
/** What is three times as slow as usual is hardly chance … */
const FAR = Math.log(3);
/** … and counts as one of so many. */
const FAR_AVERAGED = 4;
/** Silence that is none yet. */
const QUIET_MS: Millis = 1_000;
/** Time of silence in which what was learnt loses 63 % of its weight. */
const DECAY_MS: Millis = 10_000;
/** Nothing takes less: it has a logarithm. */
const LEAST_MS: Millis = 0.01;

/**
 * The usual response time, where a peak-sensitive average says the worst: the geometric mean of the last answers, which
 * is the median of what is spread as response times are. Places are compared by it: one that has traffic would show its
 * peaks beside those that have none and show their medians, and traffic would never stay anywhere.
 */
export class TypicalTime {
  /** Logarithms of ms, both. */
  #value: number;
  #seed: number;
  #count = 0;
  #at: Millis;

  constructor(seed: Millis, now: Millis) {
    this.#seed = logOf(seed);
    this.#value = this.#seed;
    this.#at = now;
  }

  /** What to expect before any answer. */
  seed(value: Millis): void {
    this.#seed = logOf(value);
    if (this.#count === 0) this.#value = this.#seed;
  }

  /** Forgets every answer. */
  reset(now: Millis): void {
    this.#value = this.#seed;
    this.#count = 0;
    this.#at = now;
  }

  read(now: Millis): Millis {
    return Math.exp(this.#reading(this.#kept(now)));
  }

  add(sample: Millis, now: Millis): void {
    const kept = this.#kept(now);
    const before = this.#reading(kept);
    // Of what has faded little counts against a new answer.
    this.#count = Math.min(AVERAGED, this.#count * kept + 1);
    const step = logOf(sample) - before;
    this.#value = before + step / (step > FAR ? Math.min(this.#count, FAR_AVERAGED) : this.#count);
    this.#at = now;
  }

  #reading(kept: number): number {
    return this.#seed + (this.#value - this.#seed) * kept;
  }

  #kept(now: Millis): number {
    const silence = now - this.#at - QUIET_MS;
    return silence <= 0 ? 1 : Math.exp(-silence / DECAY_MS);
  }
}

function logOf(ms: Millis): number {
  return Math.log(Math.max(LEAST_MS, ms));
}
