import type { Millis } from "#kernel/brand.ts";
import type { Rng } from "#kernel/rng.ts";
import { type ClusterName, isWithin } from "#model/names.ts";
import type { Service } from "#model/snapshot.ts";
import { makePicker } from "#proxy/balance/endpoint_picker.ts";
import { EndpointState, type Outcome } from "#proxy/balance/endpoint_state.ts";
import { LatencyWindow } from "#proxy/balance/latency_window.ts";
import { LocaleState, localeKey } from "#proxy/balance/locale_state.ts";
import type { PickConstraint } from "#proxy/balance/pick_constraint.ts";
import type { Reach } from "#proxy/balance/reach.ts";
import { PERIOD_MS, type WaterfallState, waterfall } from "#proxy/balance/waterfall.ts";
import type { FailureName } from "#proxy/exchange/failure.ts";
import type { CheckVerdict } from "#proxy/health/active_check.ts";
import { OutlierDetector } from "#proxy/health/outlier_detector.ts";
import { inPanic, localeStanding, PANIC_SHARE } from "#proxy/health/standing.ts";
import { endpointKey } from "#proxy/upstream/upstreams.ts";

/** A failed try is remembered as at least this slow, or fast failures would attract traffic. */
const FAILURE_PENALTY_MS = 1_000;
const REACHES: readonly Reach[] = ["healthy", "out", "tried"];

/** Where a balancer stands. */
export interface BalancerPlace {
  readonly self: ClusterName;
  /** Failure domain inside the cluster; absent: not told. */
  readonly zone?: string | undefined;
  /** Processes that share the cluster's traffic: capacities, grants and limits of the whole are divided by it. */
  readonly workers: number;
  /** Tells this worker from all others, 32 bits: what it does by chance, they do otherwise; absent: 0. */
  readonly seed?: number;
}

/** Where the requests of one service go, as seen from this worker. */
export class ServiceBalancer {
  readonly service: Service;
  readonly locales: readonly LocaleState[];
  readonly #place: BalancerPlace;
  readonly #latency: LatencyWindow;
  #state: WaterfallState | undefined = undefined;
  #nextAt: Millis = 0;
  /** Endpoints of this cluster by their keys; made when a first check is heard of. */
  #checked: ReadonlyMap<string, readonly EndpointState[]> | undefined = undefined;

  /** @param previous the balancer of the snapshot before, whose experience is carried over. */
  constructor(service: Service, place: BalancerPlace, now: Millis, previous?: ServiceBalancer) {
    this.service = service;
    this.#place = place;
    this.#latency = previous === undefined ? new LatencyWindow() : previous.#latency;
    // By their keys: a snapshot may name thousands of each, and no request moves while they are compared.
    const known = firstByKey(previous?.locales ?? [], ({ locale }) => localeKey(locale));
    this.locales = service.locales.map((locale) => {
      const state = new LocaleState(locale);
      const before = known.get(localeKey(locale));
      carryOver(state, before, now);
      const { balance, outliers } = service.policy ?? {};
      state.picker = makePicker(balance, state.endpoints, place, before?.picker);
      state.outliers = new OutlierDetector(outliers, state.endpoints, place.seed, before?.outliers);
      // Nobody would ever say otherwise.
      if (service.healthCheck === undefined)
        for (const endpoint of state.endpoints) endpoint.verdict = undefined;
      return state;
    });
    if (previous !== undefined && sameLocales(previous.service, service)) {
      this.#state = previous.#state;
    }
    this.#refresh(now);
  }

  /**
   * An endpoint for one request; undefined if nobody may or can take it, or if it is to be shed.
   * The locale is drawn by the waterfall's weights; where that one has nothing to offer, the others
   * follow in the order of their cost.
   */
  pick(constraint: PickConstraint, now: Millis, rng: Rng): EndpointState | undefined {
    this.bringUpToDate(now);
    if (constraint.session !== undefined && constraint.tried.length === 0) {
      const known = this.#ofSession(constraint.session, constraint, now);
      if (known !== undefined) return known;
    }
    const state = this.#state!;
    if (state.shed > 0 && constraint.tried.length === 0 && rng.next() < state.shed) {
      return undefined;
    }
    const drawn = this.#draw(rng);
    for (const reach of REACHES) {
      if (reach === "tried" && constraint.tried.length === 0) break;
      const first = drawn && this.#within(drawn, constraint, reach, now, rng);
      if (first !== undefined) return first;
      for (const i of state.order) {
        const locale = this.locales[i]!;
        const next =
          locale === drawn ? undefined : this.#within(locale, constraint, reach, now, rng);
        if (next !== undefined) return next;
      }
    }
    return undefined;
  }

  /** Why `pick` gave nobody to a request of this constraint. */
  whyNot(constraint: PickConstraint, now: Millis): FailureName {
    const others = this.locales.filter((locale) => this.isUsable(locale, now));
    if (others.some((locale) => this.allows(locale, constraint))) return "shed";
    const anew: PickConstraint = { ...constraint, visited: [] };
    return others.some((locale) => this.allows(locale, anew)) ? "loop" : "no_candidate";
  }

  /** Looks at the weights if it is time to. Requests do that, and whoever tells what the next one would find. */
  bringUpToDate(now: Millis): void {
    if (now >= this.#nextAt) this.#refresh(now);
  }

  /** Requests running now, those that began under an earlier snapshot among them. */
  get inflight(): number {
    let sum = 0;
    for (const locale of this.locales) sum += locale.inflight;
    return sum;
  }

  /** True if `pick` refuses requests for want of capacity rather than of endpoints. */
  get shedding(): boolean {
    return (this.#state?.shed ?? 0) > 0;
  }

  /** A try begins. */
  started(endpoint: EndpointState, now: Millis): void {
    endpoint.inflight++;
    endpoint.locale.requests++;
    endpoint.locale.count(1, now);
  }

  /** A try has ended. @param latencyMs to the head of its answer, or to its failure. */
  finished(endpoint: EndpointState, outcome: Outcome, latencyMs: Millis, now: Millis): void {
    endpoint.inflight--;
    endpoint.locale.count(-1, now);
    if (outcome === "cancelled") return;
    if (outcome === "ok") {
      endpoint.praise(latencyMs, now);
      if (endpoint.locale.kind === "local") this.#latency.add(latencyMs);
    } else {
      // What was running when it was ejected fails as well, and would keep traffic away for longer than that.
      if (endpoint.isEjected(now)) return;
      endpoint.penalize(Math.max(latencyMs, FAILURE_PENALTY_MS), now);
    }
    // It may have emptied its locale: traffic must not wait for the next period.
    if (endpoint.locale.outliers.afterTry(endpoint, outcome, now)) this.#nextAt = 0;
  }

  /** A reading of the link to `cluster`; undefined: the link is down. */
  linkRtt(cluster: ClusterName, rttMs: Millis | undefined, now: Millis): void {
    for (const locale of this.locales) {
      if (locale.cluster !== cluster || locale.kind === "local") continue;
      const isBack = !locale.linkUp && rttMs !== undefined;
      if (locale.linkUp !== (rttMs !== undefined)) this.#nextAt = 0;
      locale.linkUp = rttMs !== undefined;
      if (rttMs === undefined) continue;
      locale.rttMs = rttMs;
      for (const endpoint of locale.endpoints) {
        endpoint.ewma.seed(locale.seedMs());
        // What failed while the link was down failed because of it.
        if (isBack) endpoint.comeBack(now);
      }
    }
  }

  /**
   * Active checks have said something of an endpoint of this cluster; nothing happens if it is not here any more.
   * @param endpoint its `endpointKey`.
   */
  judge(endpoint: string, verdict: CheckVerdict, now: Millis): void {
    if (this.service.healthCheck === undefined) return;
    const local = this.locales.find((locale) => locale.kind === "local");
    this.#checked ??= Map.groupBy(local?.endpoints ?? [], (one) => endpointKey(one.endpoint));
    for (const state of this.#checked.get(endpoint) ?? []) {
      // It may have emptied its locale, or filled it: traffic must not wait for the next period.
      if (state.isUnhealthy === verdict.healthy) this.#nextAt = 0;
      state.judge({ healthy: verdict.healthy, reason: verdict.reason }, now);
    }
  }

  /** For the service's summary: endpoints of this cluster that take traffic, and the median wait. */
  localHealth(now: Millis): { healthy: number; p50Ms: Millis | undefined } {
    const local = this.locales.find((locale) => locale.kind === "local");
    const healthy = local?.endpoints.filter((endpoint) => !endpoint.isOut(now)).length ?? 0;
    return { healthy, p50Ms: this.#latency.median() };
  }

  /** Expected response time through `locale`, ms: the lower median of its endpoints, plus its price. */
  costOf(locale: LocaleState, now: Millis): Millis {
    const { endpoints } = locale;
    if (endpoints.length === 1) return endpoints[0]!.ewma.read(now) + locale.locale.egressMs;
    const costs = endpoints
      .filter((endpoint) => !endpoint.isOut(now))
      .map((endpoint) => endpoint.ewma.read(now))
      .sort((a, b) => a - b);
    return (costs[(costs.length - 1) >> 1] ?? locale.seedMs()) + locale.locale.egressMs;
  }

  capacityOf(locale: LocaleState, now: Millis): number {
    const { capacity } = locale.locale;
    if (capacity === undefined) return Number.POSITIVE_INFINITY;
    if (locale.kind !== "local") return capacity;
    const { endpoints } = locale;
    const usable = endpoints.filter((endpoint) => !endpoint.isOut(now)).length;
    return endpoints.length === 0 ? 0 : (capacity * usable) / endpoints.length;
  }

  isUsable(locale: LocaleState, now: Millis): boolean {
    const { drained = false, healthy, freshness } = locale.locale;
    const { linkUp, endpoints } = locale;
    const anyWell = endpoints.some((endpoint) => !endpoint.isOut(now));
    const facts = { drained, endpoints: endpoints.length, linkUp, healthy, anyWell, freshness };
    const standing = localeStanding(facts);
    return standing !== "out" && standing !== "closed";
  }

  /** False if the rules of the path forbid `locale` to this request. */
  allows(locale: LocaleState, constraint: PickConstraint): boolean {
    const { cluster, kind } = locale;
    if (kind === "local") {
      if (constraint.foreign && !this.service.exported) return false;
    } else if (constraint.visited.includes(cluster)) return false;
    const { within } = constraint;
    if (within === undefined || isWithin(cluster, within)) return true;
    switch (kind) {
      case "local":
        return false;
      case "child":
      case "sibling":
        return isWithin(within, cluster);
      // Through the parent to another subtree, but not to look for our own.
      case "parent":
        return !isWithin(within, this.#place.self);
      case "gateway":
        return true;
      default:
        return kind satisfies never;
    }
  }

  #within(
    locale: LocaleState,
    constraint: PickConstraint,
    reach: Reach,
    now: Millis,
    rng: Rng,
  ): EndpointState | undefined {
    if (!this.allows(locale, constraint)) return undefined;
    // A dead link, or a place that says it has nobody, is asked when everything else is gone.
    if (reach === "healthy" && (!locale.linkUp || locale.locale.healthy === 0)) return undefined;
    const { tried, hash } = constraint;
    const from = reach === "healthy" && locale.panics ? "panic" : reach;
    return locale.picker.pick({ tried, reach: from, hash }, now, rng);
  }

  /** The endpoint of a session if it may and can take a request. */
  #ofSession(key: string, constraint: PickConstraint, now: Millis): EndpointState | undefined {
    for (const locale of this.locales) {
      if (!this.isUsable(locale, now) || !this.allows(locale, constraint)) continue;
      const known = locale.endpoints.find((endpoint) => endpoint.sessionKey === key);
      if (known !== undefined) return known.isOut(now) ? undefined : known;
    }
    return undefined;
  }

  #lookForPanic(now: Millis): void {
    const usable = this.locales.filter((locale) => this.isUsable(locale, now));
    const share = this.service.policy?.balance?.panicShare ?? PANIC_SHARE;
    for (const locale of this.locales) {
      const isAlone = usable.every((one) => one === locale);
      locale.panics = isAlone && locale.kind === "local" && inPanic(locale.endpoints, share, now);
    }
  }

  #draw(rng: Rng): LocaleState | undefined {
    const { locales } = this;
    if (locales.length === 1) return locales[0];
    let draw = rng.next();
    for (const locale of locales) {
      draw -= locale.weight;
      if (draw < 0) return locale;
    }
    return undefined;
  }

  #refresh(now: Millis): void {
    for (const { endpoints, outliers } of this.locales) {
      for (const endpoint of endpoints) endpoint.forgive(now);
      outliers.review(now);
    }
    this.#lookForPanic(now);
    const inputs = this.locales.map((locale) => ({
      cost: this.costOf(locale, now),
      capacity: this.capacityOf(locale, now),
      usable: this.isUsable(locale, now),
      freshness: locale.locale.freshness,
      home: locale.kind === "local",
    }));
    // What is stuck where nobody answers is no measure of what the others have to bear.
    let demand = 0;
    for (let i = 0; i < inputs.length; i++) {
      if (inputs[i]!.usable) demand += this.locales[i]!.demand(now);
    }
    this.#state = waterfall(inputs, demand, this.#state, now);
    for (let i = 0; i < this.locales.length; i++) {
      this.locales[i]!.weight = this.#state.weights[i]!;
    }
    this.#nextAt = now + PERIOD_MS;
  }
}

function carryOver(state: LocaleState, known: LocaleState | undefined, now: Millis): void {
  if (known !== undefined) {
    state.rttMs = known.rttMs;
    state.linkUp = known.linkUp;
    state.requests = known.requests;
    state.weight = known.weight;
    state.carryDemand(known, now);
  }
  const before = firstByKey(known?.endpoints ?? [], ({ endpoint }) => endpointKey(endpoint));
  for (const endpoint of state.locale.endpoints) {
    const old = before.get(endpointKey(endpoint));
    if (old === undefined || old.endpoint.weight !== endpoint.weight) {
      const fresh = new EndpointState(endpoint, state, now);
      if (old !== undefined) fresh.inherit(old);
      state.endpoints.push(fresh);
      continue;
    }
    // The same object: running requests still count on it. Its locale becomes the new one.
    old.locale = state;
    // The same place; how it is verified may have changed.
    old.endpoint = endpoint;
    old.ewma.seed(state.seedMs());
    state.endpoints.push(old);
    state.inflight += old.inflight;
  }
}

function firstByKey<T>(all: readonly T[], keyOf: (one: T) => string): ReadonlyMap<string, T> {
  const byKey = new Map<string, T>();
  for (const one of all) {
    const key = keyOf(one);
    if (!byKey.has(key)) byKey.set(key, one);
  }
  return byKey;
}

function sameLocales(a: Service, b: Service): boolean {
  return (
    a.locales.length === b.locales.length &&
    a.locales.every((locale, i) => localeKey(locale) === localeKey(b.locales[i]!))
  );
}
