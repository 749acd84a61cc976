import type { Rng } from "#kernel/rng.ts";

/** `constant`: at equal distances; `poisson`: as many clients that know nothing of each other. */
export type Arrivals = "constant" | "poisson";

/** When requests are due, ms after the start, whatever became of those before. */
export class Pacing {
  readonly #gapMs: number;
  readonly #rng: Rng | undefined;
  #sent = 0;
  #due = 0;

  /** @param perSecond the rate. @param rng of `poisson` arrivals; the same seed gives the same times. */
  constructor(perSecond: number, arrivals: Arrivals, rng: Rng) {
    this.#gapMs = 1_000 / perSecond;
    this.#rng = arrivals === "poisson" ? rng : undefined;
  }

  /** Of the next request. */
  get dueMs(): number {
    return this.#due;
  }

  /** The next one is under way. */
  advance(): void {
    this.#sent++;
    // A product, not a sum: a million roundings would be a drift.
    if (this.#rng === undefined) this.#due = this.#sent * this.#gapMs;
    else this.#due -= Math.log(1 - this.#rng.next()) * this.#gapMs;
  }
}
