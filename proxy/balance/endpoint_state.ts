import type { Millis } from "#kernel/brand.ts";
import type { Endpoint } from "#model/snapshot.ts";
import type { LocaleState } from "#proxy/balance/locale_state.ts";
import { PeakEwma } from "#proxy/balance/peak_ewma.ts";
import { sessionKeyOf } from "#proxy/balance/session_key.ts";
import type { CheckVerdict } from "#proxy/health/active_check.ts";
import { HEALTHY, type OutlierState } from "#proxy/health/outlier.ts";
import { endpointKey } from "#proxy/upstream/upstreams.ts";

/** How a try ended. `unreachable`: no connection could be made. */
export type Outcome = "ok" | "failed" | "unreachable" | "cancelled";

/** What is known of one endpoint, beyond its address. Lives as long as snapshots name it. */
export class EndpointState {
  endpoint: Endpoint;
  locale: LocaleState;
  inflight = 0;
  readonly ewma: PeakEwma;
  outlier: OutlierState = HEALTHY;
  /** What active checks say of it; undefined: nothing yet, or it is not checked. */
  verdict: CheckVerdict | undefined = undefined;
  /** When a failure that did not eject it is forgotten; 0: there is none. */
  #forgiveAt: Millis = 0;
  #sessionKey: string | undefined = undefined;

  constructor(endpoint: Endpoint, locale: LocaleState, now: Millis) {
    this.endpoint = endpoint;
    this.locale = locale;
    this.ewma = new PeakEwma(locale.seedMs(), now);
  }

  /** Its name in session tokens. */
  get sessionKey(): string {
    this.#sessionKey ??= sessionKeyOf(this.locale.cluster, endpointKey(this.endpoint));
    return this.#sessionKey;
  }

  isEjected(now: Millis): boolean {
    return now < this.outlier.ejectedUntil;
  }

  /** Active checks call it unhealthy. One that nobody has checked yet is not: passive ejection guards against it. */
  get isUnhealthy(): boolean {
    return this.verdict?.healthy === false;
  }

  /** Ejected or unhealthy, one of them is enough: takes no request while another can. */
  isOut(now: Millis): boolean {
    return this.isUnhealthy || this.isEjected(now);
  }

  /** Active checks have said something. Its ejection stays: that is about requests, which a check knows nothing of. */
  judge(verdict: CheckVerdict, now: Millis): void {
    // How slow it was when it went says nothing of how it comes back.
    if (this.isUnhealthy && verdict.healthy) this.ewma.reset(now);
    this.verdict = verdict;
  }

  /** A try has failed and did not eject it. */
  penalize(latencyMs: Millis, now: Millis): void {
    this.ewma.add(latencyMs, now);
    this.#forgiveAt = now + FORGIVE_MS;
  }

  /** A try went well. */
  praise(latencyMs: Millis, now: Millis): void {
    this.ewma.add(latencyMs, now);
    this.#forgiveAt = 0;
  }

  /**
   * Forgets a failure that nothing has followed. Traffic has left because of it; without another try nobody
   * would learn for a minute, as the average decays, that all is well again, or that it is not.
   */
  forgive(now: Millis): void {
    if (this.#forgiveAt === 0 || now < this.#forgiveAt) return;
    this.#forgiveAt = 0;
    this.ewma.reset(now);
  }

  /** Starts anew, as if it had never failed. */
  comeBack(now: Millis): void {
    this.outlier = HEALTHY;
    this.ewma.reset(now);
  }

  /** Expected wait for one more request: what P2C compares. */
  load(now: Millis): number {
    return (this.ewma.read(now) * (this.inflight + 1)) / this.endpoint.weight;
  }
}

/** How long a failure that ejects nobody is held against an endpoint: half of the longest ejection. */
const FORGIVE_MS: Millis = 5_000;
