import type { Millis } from "#kernel/brand.ts";
import type { Endpoint } from "#model/snapshot.ts";
import { AdaptiveLimit } from "#proxy/admit/adaptive_limit.ts";
import { hashText } from "#proxy/balance/hash.ts";
import type { LoadReport } from "#proxy/balance/load_report.ts";
import type { LocaleState } from "#proxy/balance/locale_state.ts";
import { PeakEwma } from "#proxy/balance/peak_ewma.ts";
import { ReportedLoad } from "#proxy/balance/reported_load.ts";
import { sessionKeyOf } from "#proxy/balance/session_key.ts";
import { TypicalTime } from "#proxy/balance/typical_time.ts";
import type { CheckVerdict } from "#proxy/health/active_check.ts";
import { HEALTHY, type OutlierState } from "#proxy/health/outlier.ts";
import { endpointStanding } from "#proxy/health/standing.ts";
import { endpointKey } from "#proxy/upstream/upstreams.ts";

/** Requests at once below which an endpoint is not passed over for another one. */
const LEARNT_LEAST = 3;

/** How a try ended. */
export type Outcome =
  | "ok"
  | "failed"
  /** No connection could be made. */
  | "unreachable"
  /** Failed, by its own word for want of room (503, UNAVAILABLE). */
  | "overloaded"
  /** Well, but it wants fewer requests (429, RESOURCE_EXHAUSTED): this caller's, or everybody's. */
  | "limited"
  /** Says nothing of it. */
  | "cancelled";

/** What is known of one endpoint, beyond its address. Lives as long as snapshots name it. */
export class EndpointState {
  endpoint: Endpoint;
  locale: LocaleState;
  inflight = 0;
  /** Of them, those that it has whole and has not answered yet: what it has to work on. */
  waiting = 0;
  readonly ewma: PeakEwma;
  /** What its locale is compared by with others. */
  readonly typical: TypicalTime;
  outlier: OutlierState = HEALTHY;
  /** Out until then because it did worse than the others; 0: never. Requests that end meanwhile change nothing. */
  outlierUntil: Millis = 0;
  /** What active checks say of it; undefined: nothing yet, or it is not checked. */
  verdict: CheckVerdict | undefined = undefined;
  /** Since when it takes requests: where a slow start begins. In the future: it comes back then. */
  warmFrom: Millis;
  /** Tries that ended here, and how long they took together; failed ones as long as they are held against it. */
  answers = 0;
  waitedMs: Millis = 0;
  /** What its load reports come to; undefined: it has sent none. */
  reported: ReportedLoad | undefined = undefined;
  /** How many requests at once it has shown to bear from this worker; undefined: none has ended, or nobody asks. */
  learnt: AdaptiveLimit | undefined = undefined;
  /** Most requests that ran here as one of them went well. */
  #borne = 1;
  /** When a failure that did not eject it is forgotten; 0: there is none. */
  #forgiveAt: Millis = 0;
  #failedAt: Millis = Number.NEGATIVE_INFINITY;
  /** The last one came so soon that it says nothing of response times. */
  #isQuick = false;
  #doubtMs: Millis = 0;
  /** Failures since the last success, up to what counts. */
  #failed = 0;
  #sessionKey: string | undefined = undefined;
  #hash: number | undefined = undefined;

  constructor(endpoint: Endpoint, locale: LocaleState, now: Millis) {
    this.endpoint = endpoint;
    this.locale = locale;
    this.ewma = new PeakEwma(locale.seedMs(), now);
    this.typical = new TypicalTime(locale.seedMs(), now);
    this.warmFrom = now;
  }

  /** Its name in session tokens. */
  get sessionKey(): string {
    this.#sessionKey ??= sessionKeyOf(this.locale.cluster, endpointKey(this.endpoint));
    return this.#sessionKey;
  }

  /** Its place in tables of hashes, 32 bits; the same in every proxy. */
  get hash(): number {
    this.#hash ??= hashText(endpointKey(this.endpoint));
    return this.#hash;
  }

  /** The end of its ejection; in the past or 0: it is not ejected. */
  get ejectedUntil(): Millis {
    return Math.max(this.outlier.ejectedUntil, this.outlierUntil);
  }

  isEjected(now: Millis): boolean {
    return now < this.outlier.ejectedUntil || now < this.outlierUntil;
  }

  /** Active checks call it unhealthy. One that nobody has checked yet is not: passive ejection guards against it. */
  get isUnhealthy(): boolean {
    return this.verdict?.healthy === false;
  }

  /** Ejected or unhealthy, one of them is enough: takes no request while another can. */
  isOut(now: Millis): boolean {
    return endpointStanding(this.verdict?.healthy, this.isEjected(now)) !== "well";
  }

  /** Active checks have said something. Its ejection stays: that is about requests, which a check knows nothing of. */
  judge(verdict: CheckVerdict, now: Millis): void {
    // How slow it was when it went says nothing of how it comes back.
    if (this.isUnhealthy && verdict.healthy) {
      this.#forget(now);
      this.warmFrom = now;
    }
    this.verdict = verdict;
  }

  /** It is out until `until`: passive health has found it wanting. */
  eject(until: Millis, now: Millis): void {
    this.warmFrom = Math.max(this.warmFrom, until);
    // The ejection keeps traffic away; when it is over, how slow the failures were says nothing.
    this.#forget(now);
  }

  /** A try has failed and did not eject it. @param latencyMs until then. */
  penalize(latencyMs: Millis, now: Millis): void {
    const heldMs = Math.max(latencyMs, FAILURE_PENALTY_MS);
    this.#measure(heldMs, now);
    // Those that ran at the same time as an earlier one tell the same.
    if (now - latencyMs >= this.#failedAt) this.#failed = Math.min(this.#failed + 1, FORGIVE_STEPS);
    this.#failedAt = now;
    this.#doubtMs = heldMs;
    this.#isQuick = latencyMs < QUICK * this.locale.usualMs;
    this.#forgiveAt = now + FORGIVE_MS * 2 ** (this.#failed - 1);
  }

  /** A try went well. */
  praise(latencyMs: Millis, now: Millis): void {
    this.#measure(latencyMs, now);
    this.#forgiveAt = 0;
    this.#failed = 0;
    // It no longer counts among those that run.
    if (this.inflight >= this.#borne) this.#borne = this.inflight + 1;
  }

  /** It has said how loaded it is, with an answer to one of the requests that run here. */
  report(said: LoadReport, now: Millis): void {
    this.reported ??= new ReportedLoad();
    this.reported.take(said, this.inflight, this.#borne, now);
  }

  /**
   * Forgets a failure that nothing has followed. Traffic has left because of it; without another try nobody
   * would learn for a minute, as the average decays, that all is well again, or that it is not.
   */
  forgive(now: Millis): void {
    if (this.#forgiveAt === 0 || now < this.#forgiveAt) return;
    this.#forgiveAt = 0;
    this.ewma.reset(now);
    if (this.#isQuick) this.typical.reset(now);
  }

  /** A check has heard how old the data of a replica is: without requests nobody else would. */
  tellStaleness(ms: Millis, now: Millis): void {
    this.reported ??= new ReportedLoad();
    this.reported.takeStaleness(ms, now);
  }

  /** A try has shown how it bears what waits here. @param waited requests just before its answer, it among them. */
  learn(latencyMs: Millis, waited: number, dropped: boolean, now: Millis): void {
    this.learnt ??= new AdaptiveLimit(LEARNT_LEAST);
    this.learnt.sample(latencyMs, waited, dropped, now);
  }

  /** Whether one more is less than `share` of what it has shown to bear. */
  hasRoom(share: number): boolean {
    return this.learnt === undefined || this.waiting < share * this.learnt.limit;
  }

  /** What is expected of it because its last try has failed; 0: it has not, or that is forgotten. */
  get doubtMs(): Millis {
    return this.#forgiveAt === 0 ? 0 : this.#doubtMs;
  }

  /** Failures of late that no success has followed. */
  get doubts(): number {
    return this.#forgiveAt === 0 ? 0 : this.outlier.failures;
  }

  /** Starts anew, as if it had never failed. */
  comeBack(now: Millis): void {
    this.#failed = 0;
    this.outlier = HEALTHY;
    this.outlierUntil = 0;
    this.#forget(now);
  }

  /** Takes over what is known of the same place under another weight: its share has changed, not its health. */
  inherit(before: EndpointState): void {
    this.verdict = before.verdict;
    this.outlier = before.outlier;
    this.outlierUntil = before.outlierUntil;
    this.warmFrom = before.warmFrom;
    this.reported = before.reported;
    this.learnt = before.learnt;
    this.#borne = before.#borne;
  }

  /** What to expect before any answer, ms. */
  seed(ms: Millis): void {
    this.ewma.seed(ms);
    this.typical.seed(ms);
  }

  #forget(now: Millis): void {
    this.#forgiveAt = 0;
    this.ewma.reset(now);
    this.typical.reset(now);
  }

  #measure(latencyMs: Millis, now: Millis): void {
    this.ewma.add(latencyMs, now);
    this.typical.add(latencyMs, now);
    this.answers++;
    this.waitedMs += latencyMs;
  }
}

/** How long a failure that ejects nobody is held against an endpoint; after each further one twice as long. */
const FORGIVE_MS: Millis = 5_000;
const FORGIVE_STEPS = 3;
/** A failed try is remembered as at least this slow, or fast failures would attract traffic. */
const FAILURE_PENALTY_MS: Millis = 1_000;
/** A failure that took less than so many usual response times has nothing to do with them. */
const QUICK = 2;
