import type { Millis } from "#kernel/brand.ts";
import type { ClusterName } from "#model/names.ts";
import type { Endpoint, Locale } from "#model/snapshot.ts";
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

/** Time constant of a locale's demand. */
const DEMAND_DECAY_MS: Millis = 500;

/** One locale of one service, with its endpoints. */
export class LocaleState {
  readonly locale: Locale;
  readonly endpoints: EndpointState[] = [];
  /** Round trip of the link to it, ms; undefined before the first probe. */
  rttMs: Millis | undefined = undefined;
  /** False: the link's probes are not answered. */
  linkUp = true;
  /** Share of new requests, 0 to 1, as the waterfall gave it. */
  weight = 0;
  /** Requests running there now, of the endpoints that it has. */
  inflight = 0;
  /** Requests sent there so far. */
  requests = 0;
  #demand = 0;
  #demandAt: Millis = 0;

  constructor(locale: Locale) {
    this.locale = locale;
  }

  /** A request begins there (1) or ends (-1). */
  count(change: 1 | -1, now: Millis): void {
    this.#demand = this.demand(now);
    this.#demandAt = now;
    this.inflight += change;
  }

  /** Requests running there, as it was lately: what the waterfall has to place. */
  demand(now: Millis): number {
    const kept = Math.exp(-Math.max(0, now - this.#demandAt) / DEMAND_DECAY_MS);
    return this.inflight + (this.#demand - this.inflight) * kept;
  }

  /** Takes over what `before` knew of it. */
  carryDemand(before: LocaleState, now: Millis): void {
    this.#demand = before.demand(now);
    this.#demandAt = now;
  }

  get kind(): Locale["kind"] {
    return this.locale.kind;
  }

  get cluster(): ClusterName {
    return this.locale.cluster;
  }

  /** Expected response time before any traffic. */
  seedMs(): Millis {
    const rtt = this.rttMs ?? (this.kind === "local" ? 0 : UNPROBED_RTT_MS);
    // At least a little, so that an idle local endpoint still has a load to compare.
    return Math.max(0.5, rtt + (this.locale.p50Ms ?? 0));
  }
}

/** Taken for a link that no probe has measured yet: farther than the next rack, nearer than the sea. */
const UNPROBED_RTT_MS = 20;

/** Identity of a locale across snapshots. */
export function localeKey(locale: Locale): string {
  return `${locale.kind} ${locale.cluster}`;
}

/** What a pick may not do. */
export interface PickConstraint {
  /** Clusters that the request has passed: it never goes back to one. */
  readonly visited: readonly ClusterName[];
  /** Endpoints that failed it: taken again only if there is nothing else. */
  readonly tried: readonly EndpointState[];
  /** The subtree that must serve it; undefined: any. */
  readonly within: ClusterName | undefined;
  /** It came from another cluster: only services that are exported serve it here. */
  readonly foreign: boolean;
  /** Endpoint that its session names: taken if it is well and no try has failed. */
  readonly session?: string | undefined;
}
