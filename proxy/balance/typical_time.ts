import type { Millis } from "#kernel/brand.ts";

/** Answers over which it is averaged. */
const AVERAGED = 32;
/** What is three times as slow as usual, or as quick, is hardly chance … */
const FAR = Math.log(3);
/** … and counts as one of so many; what is nearer, by the square of how near it is. */
const FAR_AVERAGED = 4;
/** Of fewer answers none counts more than one of so many: the first ones wait for connections that are still opened. */
const KNOWN = 8;
/** Silence that is none yet. */
const QUIET_MS: Millis = 1_000;
/** Silence in which what was learnt loses 63 % of its weight; twice that each time it turns out to be so still. */
const DECAY_MS: Millis = 10_000;
const DECAY_MAX_MS: Millis = 80_000;
/** What has faded more than that, and was so different (a third), is asked whether it is so still. */
const FADED = 0.8;
const DIFFERENT = 0.3;
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
  #decayMs = DECAY_MS;
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
    this.#decayMs = DECAY_MS;
    this.#at = now;
  }

  read(now: Millis): Millis {
    return Math.exp(this.#reading(this.#kept(now)));
  }

  add(sample: Millis, now: Millis): void {
    const level = logOf(sample);
    const kept = this.#kept(now);
    let before = this.#reading(kept);
    if (kept < FADED && Math.abs(this.#value - before) > DIFFERENT) {
      const isSame = Math.abs(level - this.#value) < Math.abs(level - before);
      // It is as it was: nothing has to be learnt anew, and it need not be asked again so soon.
      if (isSame) before = this.#value;
      this.#decayMs = isSame ? Math.min(DECAY_MAX_MS, 2 * this.#decayMs) : DECAY_MS;
    }
    // Of what has faded little counts against a new answer.
    this.#count = Math.min(AVERAGED, this.#count * kept + 1);
    const step = level - before;
    const far = this.#count < KNOWN ? 0 : Math.min(1, (step / FAR) ** 2) / FAR_AVERAGED;
    this.#value = before + step * Math.max(1 / Math.max(KNOWN, this.#count), far);
    this.#at = now;
  }

  #reading(kept: number): number {
    return this.#seed + (this.#value - this.#seed) * kept;
  }

  #kept(now: Millis): number {
    const silence = now - this.#at - QUIET_MS;
    return silence <= 0 ? 1 : Math.exp(-silence / this.#decayMs);
  }
}

function logOf(ms: Millis): number {
  return Math.log(Math.max(LEAST_MS, ms));
}
