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
/** Samples that tell a change by a fifth from chance, per unit of variance of logarithms. */
const PRECISE_SAMPLES = 200;
const PRECISE_SAMPLES_MAX = 1_000;
/** Nothing is judged before that long, nor while answers still come ever more often: quick ones come first. */
const LEARNING_MS: Millis = 1_000;
const RAMP = 1.2;
/** Time in which the response time that counts as normal follows a slower upstream. */
const DRIFT_MS: Millis = 60_000;
/** While the limit is used, so often it is tried with less, or that many response times. */
const PROBE_MS: Millis = 10_000;
const PROBE_TIMES = 50;
/** What is left of the limit then. */
const PROBE_SHARE = 0.7;
/** Below that many requests at once nothing is held back: bursts are no overload, and a queue of so few is short. */
const LEAST = 16;
/** The spread of response times is never believed to be smaller (variance of logarithms). */
const VARIANCE_MIN = 0.1;

/** What the running window is for. */
type Purpose =
  /** To see whether all is well. */
  | "watch"
  /** To know exactly how slow answers are at this limit, before it is tried with less. */
  | "measure"
  /** To see what less has changed. */
  | "compare";

/** What is remembered of a limit that was lowered. */
interface Lowered {
  // How it was when the limit had been lowered first; NaN: it has not been, or all was well since.
  isCut: boolean;
  cutLevel: number;
  cutPeak: number;
  // How it was before the limit was tried with less.
  probeAt: Millis;
  probeLevel: number;
  probePeak: number;
  probeLimit: number;
}

/**
 * How many requests at once an upstream bears, learnt from its response times alone. A queue is told from
 * chance by a sequential test (CUSUM, Page 1954) on logarithms of response times, so that neither a wide
 * spread nor one slow answer lowers anything; and from a longer way by what happens when fewer requests
 * run: a queue gets shorter, a way does not, and then what was normal is learnt anew. The limit falls in
 * proportion to how much too slow answers are, rises while it is used, and is tried with less from time to
 * time then, for what counts as normal may have been learnt in an overload. Fixed memory, nothing allocated but
 * once, when it is lowered first.
 */
export class AdaptiveLimit {
  /** Requests at once; Infinity until a first overload has shown where it lies. */
  limit = Number.POSITIVE_INFINITY;
  // Of the running window.
  #since: Millis = -1;
  #samples = 0;
  #needed = WINDOW_SAMPLES;
  #drops = 0;
  #sum = 0;
  #squares = 0;
  #peak = 0;
  #purpose: Purpose = "watch";
  // What is normal: mean and variance of logarithms of response times.
  #normal = Number.NaN;
  #variance = 1;
  #evidence = 0;
  /** Windows since the first, while it is still being learnt; 0: it has been. */
  #learning = 0;
  #learnsSince: Millis = 0;
  /** Answers per ms in the windows so far. */
  #pace = 0;
  /** Requests that were sent before are not looked at, nor what ends before. */
  #sentAfter: Millis = Number.NEGATIVE_INFINITY;
  #endedAfter: Millis = Number.NEGATIVE_INFINITY;
  /** Undefined: it has never been lowered. Of thousands of endpoints hardly any ever is. */
  #lowered: Lowered | undefined = undefined;
  readonly #least: number;

  /** @param least the limit is never below it. */
  constructor(least = LEAST) {
    this.#least = least;
  }

  /**
   * A request has ended.
   * @param latencyMs to the head of its answer.
   * @param inflight requests that ran there just before, this one among them.
   * @param dropped the upstream has turned it away, or has not answered in time, as overloaded ones do.
   */
  sample(latencyMs: Millis, inflight: number, dropped: boolean, now: Millis): void {
    if (now < this.#endedAfter || now - latencyMs < this.#sentAfter) return;
    if (this.#samples === 0) this.#since = now;
    this.#samples++;
    if (inflight > this.#peak) this.#peak = inflight;
    if (dropped) this.#drops++;
    else {
      const level = Math.log(latencyMs > 0.01 ? latencyMs : 0.01);
      this.#sum += level;
      this.#squares += level * level;
    }
    if (this.#samples >= this.#needed && now - this.#since >= WINDOW_MS) this.#close(now);
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
    if (first || this.#learning > 0) {
      // Without an answer nothing is known of what is normal.
      if (answered > 0) this.#learn(level, variance, samples / elapsed, now);
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
    const lowered = this.#lowered;
    if (lowered === undefined) {
      this.#well(level, variance, peak, samples, elapsed);
      return;
    }
    if (this.#evidence === 0) forgetCut(lowered);
    if (this.#purpose === "compare") this.#compare(lowered, level, peak, now);
    else if (this.#purpose === "measure") this.#probe(lowered, level, peak, now);
    else this.#well(level, variance, peak, samples, elapsed);
    if (this.#purpose !== "watch" || now < lowered.probeAt) return;
    // It is the limit that holds requests back, and there may be a queue.
    const isSlow = level - this.#normal > TOLERANCE / 4;
    if (isSlow && peak > 0.8 * this.limit) this.#expect("measure");
  }

  #learn(level: number, variance: number, pace: number, now: Millis): void {
    if (this.#learning === 0) {
      this.#learnsSince = now;
      this.#learnAnew(level, variance);
    }
    // Later ones count more: in the first, only quick answers are in.
    const share = 1 / Math.min(++this.#learning, 10);
    this.#normal += (level - this.#normal) * share;
    this.#variance += (variance - this.#variance) * share;
    this.#pace += (pace - this.#pace) / this.#learning;
    const isRamp = pace > RAMP * this.#pace;
    if (now - this.#learnsSince >= LEARNING_MS && !isRamp) this.#learning = 0;
  }

  #overloaded(level: number, variance: number, peak: number, now: Millis): void {
    this.#lowered ??= neverLowered();
    const lowered = this.#lowered;
    if (lowered.isCut && Number.isNaN(lowered.cutLevel)) {
      lowered.cutLevel = level;
      lowered.cutPeak = peak;
    } else if (lowered.isCut) {
      const change = Math.log(peak / lowered.cutPeak);
      const isClear = Math.abs(change) >= -Math.log(PROBE_SHARE);
      // A queue would have become longer or shorter with it.
      if (isClear && (level - lowered.cutLevel) / change < 0.5) {
        this.limit = Number.POSITIVE_INFINITY;
        this.#learnAnew(level, variance);
        return;
      }
    }
    // More run than it allows: it is not what they are held back by, and lower would not help.
    if (peak > 1.5 * this.limit) return;
    lowered.isCut = true;
    // One window more of it is enough for the next step.
    this.#evidence = EVIDENCE - EVIDENCE_PER_WINDOW;
    const ratio = Math.exp(this.#normal + TOLERANCE / 2 - level);
    // What can be no lower is tried with more: whether it is a queue shows that way, too.
    const isLeast = this.limit === this.#least;
    if (isLeast) {
      lowered.cutLevel = level;
      lowered.cutPeak = peak;
    }
    const share = isLeast ? 1.01 / PROBE_SHARE : Math.min(0.9, Math.max(0.5, ratio));
    this.#change(share, peak, level, now);
    this.#expect("watch");
  }

  #well(level: number, variance: number, peak: number, samples: number, elapsed: Millis): void {
    const isUsed = peak > this.limit / 2;
    const change = level - this.#normal;
    const error = Math.sqrt(Math.max(this.#variance, VARIANCE_MIN) / samples);
    if (change < -2 * error) this.#normal += change / 5;
    // While the limit is used, slower answers may be its own queue.
    else if (change < 0 || !isUsed) this.#normal += change * Math.min(1, elapsed / DRIFT_MS);
    this.#variance += (variance - this.#variance) / 20;
    if (isUsed) this.limit += change < TOLERANCE / 2 ? Math.sqrt(this.limit) : 1;
  }

  /** Tries the limit with less. */
  #probe(lowered: Lowered, level: number, peak: number, now: Millis): void {
    lowered.probeLevel = level;
    lowered.probePeak = peak;
    lowered.probeLimit = this.limit;
    this.#change(PROBE_SHARE, peak, level, now);
    this.#expect("compare");
  }

  #compare(lowered: Lowered, level: number, peak: number, now: Millis): void {
    const fewer = Math.log(peak / lowered.probePeak);
    if (fewer < Math.log(PROBE_SHARE) / 2 && level - lowered.probeLevel < PROBE_SHARE * fewer) {
      // There still was a queue, so that without one it is quicker than this.
      this.#normal = Math.min(this.#normal, level - TOLERANCE / 2);
      this.#probe(lowered, level, peak, now);
      return;
    }
    this.limit = lowered.probeLimit;
    lowered.probeAt = now + Math.max(PROBE_MS, PROBE_TIMES * Math.exp(level));
    this.#expect("watch");
  }

  #change(share: number, peak: number, level: number, now: Millis): void {
    this.limit = Math.max(this.#least, share * Math.min(this.limit, peak));
    this.#sentAfter = now;
    // The quick ones of those that are sent from now on come first.
    this.#endedAfter = now + 2 * Math.exp(level);
  }

  #expect(purpose: Purpose): void {
    this.#purpose = purpose;
    const precise = Math.min(PRECISE_SAMPLES_MAX, PRECISE_SAMPLES * this.#variance);
    this.#needed = purpose === "watch" ? WINDOW_SAMPLES : Math.max(WINDOW_SAMPLES, precise);
  }

  #learnAnew(level: number, variance: number): void {
    this.#normal = level;
    this.#variance = Math.max(variance, VARIANCE_MIN);
    this.#evidence = 0;
    if (this.#lowered !== undefined) forgetCut(this.#lowered);
    this.#expect("watch");
  }
}

function neverLowered(): Lowered {
  return {
    ...{ isCut: false, cutLevel: Number.NaN, cutPeak: 0 },
    ...{ probeAt: 0, probeLevel: 0, probePeak: 0, probeLimit: 0 },
  };
}

function forgetCut(lowered: Lowered): void {
  lowered.isCut = false;
  lowered.cutLevel = Number.NaN;
}
