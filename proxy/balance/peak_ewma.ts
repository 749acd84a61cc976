import type { Millis } from "#kernel/brand.ts";

/** Time in which a past reading loses 63 % of its weight. */
const DECAY_MS = 10_000;

/**
 * Peak-sensitive moving average of a response time (finagle's PeakEwma): a slower reading counts at
 * once, a faster one bit by bit. Without traffic it goes back to its seed, so that a place once slow is
 * asked again.
 */
export class PeakEwma {
  #value: Millis;
  #at: Millis;
  #seed: Millis;

  constructor(seed: Millis, now: Millis) {
    this.#seed = seed;
    this.#value = seed;
    this.#at = now;
  }

  /** What to expect before any reading. */
  seed(value: Millis): void {
    // Still at its seed: nothing was learnt that the new seed would hide.
    if (this.#value === this.#seed) this.#value = value;
    this.#seed = value;
  }

  /** Forgets every reading: what was learnt is no longer about the same thing. */
  reset(now: Millis): void {
    this.#value = this.#seed;
    this.#at = now;
  }

  read(now: Millis): Millis {
    if (this.#value === this.#seed) return this.#value;
    const kept = Math.exp(-Math.max(0, now - this.#at) / DECAY_MS);
    return this.#seed + (this.#value - this.#seed) * kept;
  }

  add(sample: Millis, now: Millis): void {
    if (sample >= this.#value) this.#value = sample;
    else {
      const kept = Math.exp(-Math.max(0, now - this.#at) / DECAY_MS);
      this.#value = sample + (this.#value - sample) * kept;
    }
    this.#at = now;
  }
}
