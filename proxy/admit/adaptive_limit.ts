import type { Millis } from "#kernel/brand.ts";

/** How much slower than without a queue an upstream may be before it counts as overloaded: twice. */
const TOLERANCE = Math.LN2;
/** What a share of 1 of drops counts as, in logarithms of a response time: 20 times slower. */
const DROPS_WEIGHT = 3;
/** Log likelihood ratio that overload must reach: chance alone reaches it once in e²⁰ samples. */
const EVIDENCE = 20;
/** Of it, what one window may give: a pause of the upstream that is over is no overload. */
const EVIDENCE_PER_WINDOW = EVIDENCE / 2;
const WINDOW_MS: Millis = 100;
const WINDOW_SAMPLES = 20;
/** Nothing is judged before that long, or that many response times: quick answers come first. */
const LEARNING_MS: Millis = 1_000;
const LEARNING_TIMES = 5;
/** Time in which the response time that counts as normal follows a slower upstream. */
const DRIFT_MS: Millis = 60_000;
/** Below that many requests at once nothing is held back. */
const LIMIT_MIN = 3;
/** The spread of response times is never believed to be smaller (variance of logarithms). */
const VARIANCE_MIN = 0.1;
/** So much less concurrency must make an upstream faster if it is a queue that makes it slow. */
const CUT_TO_JUDGE = Math.log(0.7);

/**
 * How many requests at once an upstream bears, learnt from its response times alone. A queue is told from
 * chance by a sequential test (CUSUM, Page 1954) on logarithms of response times, so that neither a wide
 * spread nor one slow answer lowers anything; and from a longer way by what happens when fewer requests
 * run: a queue gets shorter, a way does not, and then what was normal is learnt anew. The limit falls in
 * proportion to how much too slow answers are and rises while it is used. Fixed memory, nothing allocated.
 */
export class AdaptiveLimit {
  /** Requests at once; Infinity until a first overload has shown where it lies. */
  limit = Number.POSITIVE_INFINITY;
  // Of the running window.
  #since: Millis = -1;
  #samples = 0;
  #drops = 0;
  #sum = 0;
  #squares = 0;
  #peak = 0;
  // What is normal: mean and variance of logarithms of response times; and windows that it is the mean of, at first.
  #normal = Number.NaN;
  #variance = 1;
  #windows = 0;
  #learnsSince: Millis = 0;
  #evidence = 0;
  #cutAt: Millis = Number.NEGATIVE_INFINITY;
  #ignoredUntil: Millis = Number.NEGATIVE_INFINITY;
  // How it was after the limit was lowered first; NaN: it has not been, or all was well since.
  #cutLevel = Number.NaN;
  #cutPeak = 0;
  #isCut = false;

  /**
   * A request has ended.
   * @param latencyMs to the head of its answer.
   * @param inflight requests that ran there just before, this one among them.
   * @param dropped the upstream has turned it away, or has not answered in time, as overloaded ones do.
   */
  sample(latencyMs: Millis, inflight: number, dropped: boolean, now: Millis): void {
    // It was sent before the limit was lowered.
    if (now < this.#ignoredUntil || now - latencyMs < this.#cutAt) return;
    if (this.#samples === 0) this.#since = now;
    this.#samples++;
    if (inflight > this.#peak) this.#peak = inflight;
    if (dropped) this.#drops++;
    else {
      const level = Math.log(latencyMs > 0.01 ? latencyMs : 0.01);
      this.#sum += level;
      this.#squares += level * level;
    }
    if (this.#samples >= WINDOW_SAMPLES && now - this.#since >= WINDOW_MS) this.#close(now);
  }

  #close(now: Millis): void {
    const samples = this.#samples;
    const answered = samples - this.#drops;
    const peak = this.#peak;
    const elapsed = now - this.#since;
    const first = Number.isNaN(this.#normal);
    const mean = answered > 0 ? this.#sum / answered : first ? 0 : this.#normal;
    const variance = answered > 1 ? Math.max(0, this.#squares / answered - mean * mean) : 0;
    const level = mean + (DROPS_WEIGHT * this.#drops) / samples;
    this.#samples = 0;
    this.#drops = 0;
    this.#sum = 0;
    this.#squares = 0;
    this.#peak = 0;
    if (first) {
      // Without an answer nothing is known of what is normal.
      if (answered > 0) this.#learnAnew(level, variance);
      this.#windows = 1;
      this.#learnsSince = now;
      return;
    }
    if (this.#windows > 0) {
      const share = 1 / ++this.#windows;
      this.#normal += (level - this.#normal) * share;
      this.#variance += (variance - this.#variance) * share;
      const enough = Math.max(LEARNING_MS, LEARNING_TIMES * Math.exp(this.#normal));
      if (now - this.#learnsSince >= enough) this.#windows = 0;
      return;
    }
    const excess = level - this.#normal - TOLERANCE;
    const spread = Math.max(this.#variance, VARIANCE_MIN);
    const evidence = Math.min((samples * 2 * TOLERANCE * excess) / spread, EVIDENCE_PER_WINDOW);
    this.#evidence = Math.max(0, this.#evidence + evidence);
    if (excess > 0) {
      if (this.#evidence >= EVIDENCE) this.#overloaded(level, variance, peak, now);
      return;
    }
    this.#well(level, variance, peak, samples, elapsed);
  }

  #overloaded(level: number, variance: number, peak: number, now: Millis): void {
    if (this.#isCut && Number.isNaN(this.#cutLevel)) {
      this.#cutLevel = level;
      this.#cutPeak = peak;
    } else if (this.#isCut) {
      const fewer = Math.log(peak / this.#cutPeak);
      if (fewer <= CUT_TO_JUDGE && level - this.#cutLevel > fewer / 2) {
        this.limit = Number.POSITIVE_INFINITY;
        this.#learnAnew(level, variance);
        return;
      }
    }
    // More run than it allows: it is not what they are held back by, and lower would not help.
    if (peak > 1.5 * this.limit) return;
    const ratio = Math.exp(this.#normal + TOLERANCE / 2 - level);
    const kept = Math.min(0.9, Math.max(0.5, ratio));
    this.limit = Math.max(LIMIT_MIN, kept * Math.min(this.limit, peak));
    // One window more of it is enough for the next step.
    this.#evidence = EVIDENCE - EVIDENCE_PER_WINDOW;
    this.#cutAt = now;
    // The quick ones of those that are sent from now on come first.
    this.#ignoredUntil = now + 2 * Math.exp(level);
    this.#isCut = true;
  }

  #well(level: number, variance: number, peak: number, samples: number, elapsed: Millis): void {
    const isUsed = peak > this.limit / 2;
    if (this.#evidence === 0) this.#forgetCut();
    const change = level - this.#normal;
    const error = Math.sqrt(Math.max(this.#variance, VARIANCE_MIN) / samples);
    if (change < -2 * error) this.#normal += change / 5;
    // While the limit is used, slower answers may be its own queue.
    else if (change < 0 || !isUsed) this.#normal += change * Math.min(1, elapsed / DRIFT_MS);
    this.#variance += (variance - this.#variance) / 20;
    if (isUsed) this.limit += change < TOLERANCE / 2 ? Math.sqrt(this.limit) : 1;
  }

  #learnAnew(level: number, variance: number): void {
    this.#normal = level;
    this.#variance = Math.max(variance, VARIANCE_MIN);
    this.#evidence = 0;
    this.#forgetCut();
  }

  #forgetCut(): void {
    this.#isCut = false;
    this.#cutLevel = Number.NaN;
  }
}
