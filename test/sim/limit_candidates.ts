import type { Limiter } from "#test/sim/adaptive_limits.ts";

/*
 * What the production limit was compared with, kept for the record: the two families of the literature, in
 * windows of 100 ms like it. Both begin at 20 and know no "not learnt yet".
 */

const WINDOW_MS = 100;
const WINDOW_SAMPLES = 10;
const FIRST_LIMIT = 20;

/** Means over windows; the ends of windows go to `closed`. */
abstract class Windowed implements Limiter {
  limit = FIRST_LIMIT;
  #since = -1;
  #samples = 0;
  #sum = 0;
  #peak = 0;
  #dropped = false;

  sample(latencyMs: number, inflight: number, dropped: boolean, now: number): void {
    if (this.#samples === 0) this.#since = now;
    this.#samples++;
    this.#sum += latencyMs;
    this.#peak = Math.max(this.#peak, inflight);
    this.#dropped ||= dropped;
    if (this.#samples < WINDOW_SAMPLES || now - this.#since < WINDOW_MS) return;
    const mean = this.#sum / this.#samples;
    this.closed({ mean, samples: this.#samples, peak: this.#peak, dropped: this.#dropped, now });
    this.#samples = 0;
    this.#sum = 0;
    this.#peak = 0;
    this.#dropped = false;
  }

  protected abstract closed(window: {
    readonly mean: number;
    readonly samples: number;
    readonly peak: number;
    readonly dropped: boolean;
    readonly now: number;
  }): void;
}

/**
 * Gradient of a long average over a short one (as concurrency-limits' Gradient2 has it): tolerance 1.5, smoothing
 * 0.2, room for a queue of √limit, long average over 600 windows, at most 1,000.
 */
export class GradientLimit extends Windowed {
  #long = 0;
  #seen = 0;

  protected override closed({ mean, peak }: { mean: number; peak: number }): void {
    this.#seen++;
    this.#long += (mean - this.#long) / Math.min(this.#seen, 600);
    // After an overload the long average is far too long.
    if (this.#long / mean > 2) this.#long *= 0.95;
    if (peak < this.limit / 2) return;
    const gradient = Math.max(0.5, Math.min(1, (1.5 * this.#long) / mean));
    const next = this.limit * gradient + Math.sqrt(this.limit);
    this.limit = Math.max(3, Math.min(1_000, this.limit * 0.8 + next * 0.2));
  }
}

/**
 * Additive increase, multiplicative decrease (Chiu and Jain 1989): down by a tenth where answers take twice the
 * least mean of the last 60 s or one was dropped, up by one per limit's worth of answers while it is used.
 */
export class AimdLimit extends Windowed {
  #least = Number.POSITIVE_INFINITY;
  #leastBefore = Number.POSITIVE_INFINITY;
  #turnsAt = 0;

  protected override closed(window: {
    mean: number;
    samples: number;
    peak: number;
    dropped: boolean;
    now: number;
  }): void {
    const { mean, samples, peak, dropped, now } = window;
    if (now >= this.#turnsAt) {
      this.#turnsAt = now + 30_000;
      this.#leastBefore = this.#least;
      this.#least = mean;
    }
    this.#least = Math.min(this.#least, mean);
    if (dropped || mean > 2 * Math.min(this.#least, this.#leastBefore)) {
      this.limit = Math.max(3, this.limit * 0.9);
    } else if (peak > this.limit / 2) this.limit += samples / this.limit;
  }
}
