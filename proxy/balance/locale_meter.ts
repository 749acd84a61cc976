import type { Millis } from "#kernel/brand.ts";
import type { LocaleState } from "#proxy/balance/locale_state.ts";
import { lowerMedian } from "#proxy/balance/median.ts";

/** Endpoints whose median stands for all: its error is a few percentiles, and 5,000 cost no more than these. */
const SAMPLED = 128;
const COSTS = new Float64Array(SAMPLED);
/** Above what a place has shown to bear, where there is no other: twice that and a few dozen. */
const LEARNT_TIMES = 2;
const LEARNT_MORE = 32;

/** An endpoint that is slower than the median by less than that is as able as the others. */
const CHANCE = 1.5;

/** Reads off what the waterfall wants to know of a locale. Allocates nothing: what it has read is in its fields. */
export class LocaleMeter {
  /** Endpoints that take requests. */
  usable = 0;
  /** Of what all usable ones bear the share that they really do, 0 to 1: one that is ten times slower bears a tenth. */
  able = 1;
  /** Expected response time, ms, price included. */
  costMs: Millis = 0;
  /** Concurrent requests that it bears from this worker; Infinity: no limit is known. */
  bears = 0;
  readonly #workers: number;
  readonly #adaptive: boolean;

  /** @param workers that share what is declared and granted. @param adaptive what was learnt counts. */
  constructor(workers: number, adaptive: boolean) {
    this.#workers = workers;
    this.#adaptive = adaptive;
  }

  measure(locale: LocaleState, now: Millis): void {
    this.costMs = this.cost(locale, now);
    if (this.usable > 0) locale.usualMs = this.costMs - locale.locale.egressMs;
    locale.share = this.#share(locale);
    if (locale.kind === "local") this.#readReports(locale, now);
    this.bears = this.bearsNow(locale);
  }

  /** What endpoints say of themselves (ORCA): how old they are, and how much of ours all together bear. */
  #readReports(locale: LocaleState, now: Millis): void {
    let bears = 0;
    let oldest: Millis | undefined;
    for (const endpoint of locale.endpoints) {
      const { reported } = endpoint;
      if (reported === undefined) {
        if (!endpoint.isOut(now)) bears = Number.POSITIVE_INFINITY;
        continue;
      }
      const age = reported.stalenessMs(now);
      if (age !== undefined && (oldest === undefined || age > oldest)) oldest = age;
      if (!endpoint.isOut(now)) bears += reported.capacity(now) ?? Number.POSITIVE_INFINITY;
    }
    locale.reportedStalenessMs = oldest;
    if (this.#adaptive && this.usable > 0) locale.share = Math.min(locale.share, bears);
  }

  /** What was declared, granted and reported at the last look, and what it has shown as of now. */
  bearsNow(locale: LocaleState): number {
    return this.#adaptive ? Math.min(locale.share, locale.shownToBear) : locale.share;
  }

  /** What it is given where nobody else has room: what was learnt in a burst may be far too low for the next one. */
  mostNow({ share, shownToBear }: LocaleState): number {
    return this.#adaptive ? Math.min(share, LEARNT_TIMES * shownToBear + LEARNT_MORE) : share;
  }

  /** The lower median of the endpoints that take requests, so that one slow endpoint does not make a place dear. */
  cost(locale: LocaleState, now: Millis): Millis {
    const { endpoints } = locale;
    const { egressMs } = locale.locale;
    const stride = Math.ceil(endpoints.length / SAMPLED);
    let usable = 0;
    let sampled = 0;
    for (let i = 0; i < endpoints.length; i++) {
      const endpoint = endpoints[i]!;
      if (endpoint.isOut(now)) continue;
      usable++;
      if (i % stride === 0) COSTS[sampled++] = endpoint.typical.read(now);
    }
    this.usable = usable;
    this.able = 1;
    if (usable === 0) return locale.seedMs() + egressMs;
    // All that were to be looked at are out: some others do as well.
    for (let i = 0; sampled === 0; i++) {
      if (!endpoints[i]!.isOut(now)) COSTS[sampled++] = endpoints[i]!.typical.read(now);
    }
    const usual = lowerMedian(COSTS, sampled);
    let able = 0;
    for (let i = 0; i < sampled; i++) {
      const ms = COSTS[i]!;
      able += ms > CHANCE * usual ? usual / ms : 1;
    }
    this.able = able / sampled;
    return usual + egressMs;
  }

  /** After `cost`: what is declared, as far as those are well that bear it, and granted. */
  #share({ kind, endpoints, locale, panics }: LocaleState): number {
    let whole = locale.capacity ?? Number.POSITIVE_INFINITY;
    // Where nobody is well, what all bear is the bound of who has to try it nevertheless.
    if (kind === "local" && this.usable > 0 && !panics)
      whole *= (this.able * this.usable) / endpoints.length;
    if (locale.grant !== undefined) whole = Math.min(whole, locale.grant);
    return whole / this.#workers;
  }
}
