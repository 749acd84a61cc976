import type { Millis } from "#kernel/brand.ts";
import type { Rng } from "#kernel/rng.ts";
import type { ClusterName } from "#model/names.ts";
import type { Service } from "#model/snapshot.ts";
import { PRIORITIES, type Priority } from "#model/traffic_policy.ts";
import { ClassRoom } from "#proxy/admit/class_room.ts";
import { Arrivals, classOf } from "#proxy/balance/arrivals.ts";
import { carryLocales } from "#proxy/balance/carry_over.ts";
import type { EndpointState, Outcome } from "#proxy/balance/endpoint_state.ts";
import { pointOf } from "#proxy/balance/hash.ts";
import { LatencyWindow } from "#proxy/balance/latency_window.ts";
import { LocaleMeter } from "#proxy/balance/locale_meter.ts";
import { LocaleRules } from "#proxy/balance/locale_rules.ts";
import { isOpen, standingOf } from "#proxy/balance/locale_standing.ts";
import { Attention, type LocaleState } from "#proxy/balance/locale_state.ts";
import type { PickConstraint } from "#proxy/balance/pick_constraint.ts";
import type { Reach } from "#proxy/balance/reach.ts";
import { SessionSeats } from "#proxy/balance/session_seats.ts";
import {
  agedCost,
  OUT,
  PERIOD_MS,
  READY,
  Waterfall,
  waterfallRules,
} from "#proxy/balance/waterfall.ts";
import type { FailureName } from "#proxy/exchange/failure.ts";
import type { CheckVerdict } from "#proxy/health/active_check.ts";
import { inPanic, PANIC_SHARE } from "#proxy/health/standing.ts";
import { endpointKey } from "#proxy/upstream/upstreams.ts";

/** A failure that took this long is taken for what an overloaded place does. */
const STALLED_MS = 1_000;
/** How far a pick goes for an endpoint, step by step. */
const LOOKS: readonly { readonly reach: Reach; readonly avoids: boolean }[] = [
  { reach: "healthy", avoids: true },
  { reach: "out", avoids: true },
  { reach: "healthy", avoids: false },
  { reach: "out", avoids: false },
  { reach: "tried", avoids: false },
];
const NOBODY: readonly EndpointState[] = [];
const NO_CLUSTERS: readonly ClusterName[] = [];

/** Where a balancer stands. */
export interface BalancerPlace {
  readonly self: ClusterName;
  /** Failure domain inside the cluster; absent: not told. */
  readonly zone?: string | undefined;
  /** Processes that share the cluster's traffic: capacities, grants and limits of the whole are divided by it. */
  readonly workers: number;
  /** Tells this worker from all others, 32 bits: what it does by chance, they do otherwise; absent: 0. */
  readonly seed?: number | undefined;
}

/** What a gateway reports of a service's place here. */
export interface LocalHealth {
  /** Endpoints of this cluster that take traffic. */
  readonly healthy: number;
  /** Median response time of them; undefined: none has answered yet. */
  readonly p50Ms: Millis | undefined;
  /** Concurrent requests that clients of this cluster want served, here or elsewhere. */
  readonly demand: number;
  /** Requests per second that they bring. */
  readonly arrivals: number;
  /** Concurrent requests that the local endpoints have shown to bear from this worker; undefined: not learnt. */
  readonly limit: number | undefined;
  /** How old the data of the local replica is at most, ms; undefined: it does not say. */
  readonly stalenessMs: Millis | undefined;
}

/** Where the requests of one service go, as seen from this worker. */
export class ServiceBalancer {
  readonly service: Service;
  readonly locales: readonly LocaleState[];
  readonly rules: LocaleRules;
  /** Of the last pick: the subtree that must serve the request beyond its locale; undefined: any may. */
  pickedWithin: ClusterName | undefined = undefined;
  /** Of the last pick: that subtree is a part's, a pin's or a split's. */
  pickedPart = false;
  readonly #waterfall: Waterfall;
  readonly #meter: LocaleMeter;
  readonly #local: LocaleState | undefined;
  readonly #latency: LatencyWindow;
  readonly #arrivals: Arrivals;
  readonly #room: ClassRoom;
  readonly #attention: Attention;
  readonly #demand = new Float64Array(PRIORITIES.length);
  readonly #ask: { tried: readonly EndpointState[]; reach: Reach; hash: number | undefined } = {
    tried: NOBODY,
    reach: "healthy",
    hash: undefined,
  };
  #nextAt: Millis = 0;
  /** A later snapshot's balancer is in force; this one serves the requests that it was planned for. */
  #superseded = false;
  /** Of the running pick: somebody could take it, were there room. */
  #isFull = false;
  /** Of the running look: what is full may take a few more. */
  #mayQueue = false;
  /** Of the running look: clusters that are passed over. */
  #avoided: readonly ClusterName[] = NO_CLUSTERS;
  #sessions: SessionSeats | undefined = undefined;
  #byCluster: ReadonlyMap<ClusterName, readonly LocaleState[]> | undefined = undefined;
  /** Endpoints of this cluster by their keys; made when a first check is heard of. */
  #checked: ReadonlyMap<string, readonly EndpointState[]> | undefined = undefined;

  /** @param previous the balancer of the snapshot before, whose experience is carried over. */
  constructor(service: Service, place: BalancerPlace, now: Millis, previous?: ServiceBalancer) {
    this.service = service;
    this.#latency = previous === undefined ? new LatencyWindow() : previous.#latency;
    this.#arrivals = previous === undefined ? new Arrivals() : previous.#arrivals;
    this.#room = previous === undefined ? new ClassRoom() : previous.#room;
    this.#attention = previous === undefined ? new Attention() : previous.#attention;
    const about = { attention: this.#attention, place, now };
    const { locales, known } = carryLocales(service, previous?.locales ?? [], about);
    this.locales = locales;
    this.#local = locales.find(({ kind }) => kind === "local");
    this.rules = new LocaleRules(service, place.self, locales);
    const { parts } = this.rules;
    const shape = waterfallRules(service.policy?.waterfall);
    this.#waterfall = new Waterfall(locales.length, this.#local?.index ?? -1, shape, parts);
    this.#meter = new LocaleMeter(place.workers, service.policy?.limits?.adaptive !== false);
    for (const locale of locales) this.#measure(locale, now);
    if (previous !== undefined) {
      this.#waterfall.takeOver(previous.#waterfall, known, now);
      previous.#superseded = true;
    }
    this.#turn(now);
  }

  /**
   * An endpoint for one request; undefined if nobody may or can take it, or if it is to be shed.
   * The locale is drawn by the waterfall's weights; where that one has nothing to offer, the others
   * follow in the order of their cost. `pickedWithin` says where beyond it the request has to be served.
   */
  pick(constraint: PickConstraint, now: Millis, rng: Rng): EndpointState | undefined {
    this.bringUpToDate(now);
    const { tried, priority = "default" } = constraint;
    const isFirst = tried.length === 0;
    if (isFirst) {
      this.#arrivals.came(classOf(priority), constraint.visited.length === 0);
    }
    const found = this.#find(constraint, now, rng);
    if (!isFirst) return found;
    if (found !== undefined || priority === "critical") this.#room.took(priority, now);
    if (found === undefined && this.#isFull) this.#arrivals.turnedAway(classOf(priority));
    return found;
  }

  #find(constraint: PickConstraint, now: Millis, rng: Rng): EndpointState | undefined {
    const { tried, hash, avoid = NO_CLUSTERS } = constraint;
    const isFirst = tried.length === 0;
    this.#isFull = false;
    this.#avoided = avoid;
    const within = this.rules.within(constraint);
    this.pickedWithin = within;
    this.pickedPart = false;
    if (constraint.session !== undefined && isFirst) {
      const known = this.#ofSession(constraint.session, constraint, now);
      if (known !== undefined) return known;
    }
    const { size, weights } = this.#waterfall;
    const slot = weights.at(
      hash === undefined ? (weights.count > 1 ? rng.next() : 0) : pointOf(hash),
    );
    const drawn = slot < 0 || constraint.unbound === true ? -1 : slot % size;
    const ask = this.#ask;
    ask.tried = tried;
    ask.hash = hash;
    ask.reach = "healthy";
    if (this.#climbs(constraint, now)) {
      const above = this.#above(constraint, now, rng);
      if (above !== undefined) return above;
    }
    for (const { reach, avoids } of LOOKS) {
      if (reach === "tried" && isFirst) break;
      if (!avoids && reach !== "tried" && avoid.length === 0) continue;
      ask.reach = reach;
      this.#avoided = avoids ? avoid : NO_CLUSTERS;
      const first = drawn < 0 ? undefined : this.#from(drawn, constraint, now, rng);
      if (first !== undefined) {
        if (reach !== "tried") this.#nameSubtree(Math.floor(slot / size), constraint);
        return first;
      }
      const next = this.#next(drawn, constraint, now, rng);
      if (next !== undefined) return next;
      if (this.#isFull && reach === "healthy") return this.#queue(constraint, now, rng);
      // Rather none than one that is ejected while those that are well have all that they bear.
      if (this.#isFull) break;
    }
    return undefined;
  }

  /** Why `pick` gave nobody to a request of this constraint. */
  whyNot(constraint: PickConstraint, now: Millis): FailureName {
    const { data, visited } = constraint;
    const isLeft = (locale: LocaleState, about: PickConstraint): boolean =>
      locale.endpoints.length > 0 && this.rules.refusal(locale.index, about) === undefined;
    if (this.locales.some((locale) => isLeft(locale, constraint))) return "shed";
    const could = (about: PickConstraint): boolean =>
      this.locales.some((locale) => this.isUsable(locale, now) && isLeft(locale, about));
    // Who has sent it to us asks for others: that it has somebody itself is no loop.
    const isLoop = (locale: LocaleState): boolean =>
      locale.cluster !== visited.at(-1) &&
      this.rules.refusal(locale.index, constraint) === "visited" &&
      this.isUsable(locale, now) &&
      isLeft(locale, { ...constraint, visited: [] });
    if (visited.length > 1 && this.locales.some(isLoop)) return "loop";
    if (data?.write === true && could({ ...constraint, data: undefined })) return "not_primary";
    const isFence = (locale: LocaleState): boolean =>
      this.rules.refusal(locale.index, { ...constraint, visited: [], data: undefined }) === "fence";
    return this.locales.some(isFence) ? "fenced" : "no_candidate";
  }

  /** Looks at the weights if it is time to. Requests do that, and whoever tells what the next one would find. */
  bringUpToDate(now: Millis): void {
    if (now < this.#nextAt && !this.#attention.urgent) return;
    if (this.#superseded) return;
    this.#attention.urgent = false;
    const { locales } = this.#attention;
    let kept = 0;
    for (const locale of locales) {
      // It was here in an earlier snapshot.
      if (this.locales[locale.index] !== locale) continue;
      for (const endpoint of locale.endpoints) endpoint.forgive(now);
      locale.outliers.review(now);
      this.#measure(locale, now);
      if (!locale.restIfQuiet(now)) locales[kept++] = locale;
    }
    locales.length = kept;
    this.#turn(now);
  }

  /** Requests running now, those that began under an earlier snapshot among them. */
  get inflight(): number {
    let sum = 0;
    for (const locale of this.locales) sum += locale.inflight;
    return sum;
  }

  /** Requests turned away for want of room so far, by class (`PRIORITIES`). Not to be written to. */
  get shed(): Float64Array {
    return this.#arrivals.shed;
  }

  /** True if more is wanted than all locales bear: what adds to it had better wait. */
  get shedding(): boolean {
    return this.#waterfall.weights.shed[PRIORITIES.length - 1]! > 0;
  }

  /** A try begins. @param whole its request has no body: it waits for its answer from now on. */
  started(endpoint: EndpointState, now: Millis, whole = true): void {
    endpoint.inflight++;
    endpoint.locale.requests++;
    endpoint.locale.count(1, now);
    if (!whole) return;
    this.asked(endpoint);
    endpoint.locale.stall.began(endpoint.locale.usualMs, now);
  }

  /** The endpoint has all of a request whose body came later: it waits for its answer from now on. */
  asked(endpoint: EndpointState): void {
    endpoint.waiting++;
    endpoint.locale.waiting++;
  }

  /** The head of an answer has come, and its try goes on. @param waitedMs since `asked`. */
  answered(endpoint: EndpointState, outcome: Outcome, waitedMs: Millis, now: Millis): void {
    const { locale } = endpoint;
    const waited = locale.waiting--;
    const waitedThere = endpoint.waiting--;
    const isLife = outcome === "ok" || (outcome !== "cancelled" && waitedMs < locale.usualMs);
    if (isLife) locale.stall.answered();
    const isDrop = isDropped(outcome, waitedMs);
    if (outcome !== "ok" && !isDrop) return;
    locale.limit.sample(waitedMs, waited, isDrop, now);
    if (locale.limitsEndpoints) endpoint.learn(waitedMs, waitedThere, isDrop, now);
  }

  /**
   * A try has ended. @param latencyMs to the head of its answer, or to its failure. @param waits it was waiting for
   * its answer until now.
   */
  finished(
    endpoint: EndpointState,
    outcome: Outcome,
    latencyMs: Millis,
    now: Millis,
    waits = true,
  ): void {
    const { locale } = endpoint;
    if (waits) this.answered(endpoint, outcome, latencyMs, now);
    endpoint.inflight--;
    locale.count(-1, now);
    if (outcome === "cancelled") return;
    if (outcome === "ok") {
      endpoint.praise(latencyMs, now);
      locale.sayServed(now);
      if (locale.kind === "local") this.#latency.add(latencyMs);
    } else if (outcome !== "limited") {
      // What was running when it was ejected fails as well, and would keep traffic away for longer than that.
      if (endpoint.isEjected(now)) return;
      endpoint.penalize(latencyMs, now);
    }
    // It may have emptied its locale: traffic must not wait for the next period.
    if (locale.outliers.afterTry(endpoint, outcome, now)) locale.alarm(now);
  }

  /**
   * The gateway `endpoint` has refused a request, for it has nobody who serves it. For requests of all kinds that holds
   * if the request asked nothing special. @param within the subtree that had to serve it.
   */
  hasNobody(endpoint: EndpointState, within: ClusterName | undefined, now: Millis): void {
    if (within === this.rules.fence) endpoint.locale.sayNobody(now);
  }

  /** A reading of the link to `cluster`; undefined: the link is down. */
  linkRtt(cluster: ClusterName, rttMs: Millis | undefined, now: Millis): void {
    this.#byCluster ??= Map.groupBy(this.locales, (locale) => locale.cluster);
    for (const locale of this.#byCluster.get(cluster) ?? []) {
      if (locale.kind === "local") continue;
      const isBack = !locale.linkUp && rttMs !== undefined;
      if (locale.linkUp !== (rttMs !== undefined)) locale.alarm(now);
      else locale.glance(now);
      locale.linkUp = rttMs !== undefined;
      if (rttMs === undefined) continue;
      locale.rttMs = rttMs;
      for (const endpoint of locale.endpoints) {
        endpoint.seed(locale.seedMs());
        // What failed while the link was down failed because of it.
        if (isBack) endpoint.comeBack(now);
      }
    }
  }

  /**
   * Active checks have said something of an endpoint of this cluster; nothing happens if it is not here any more.
   * @param endpoint its `endpointKey`. @param stalenessMs of a replica that says it: how old its data is at most.
   */
  judge(endpoint: string, verdict: CheckVerdict, now: Millis, stalenessMs?: Millis): void {
    if (this.service.healthCheck === undefined) return;
    const local = this.#local;
    this.#checked ??= Map.groupBy(local?.endpoints ?? [], (one) => endpointKey(one.endpoint));
    for (const state of this.#checked.get(endpoint) ?? []) {
      // It may have emptied its locale, or filled it: traffic must not wait for the next period.
      if (state.isUnhealthy === verdict.healthy) local!.alarm(now);
      state.judge({ healthy: verdict.healthy, reason: verdict.reason }, now);
      if (stalenessMs === undefined) continue;
      state.tellStaleness(stalenessMs, now);
      local!.glance(now);
    }
  }

  /** Endpoints of this cluster itself that are not out. */
  healthyHere(now: Millis): number {
    let healthy = 0;
    for (const endpoint of this.#local?.endpoints ?? []) if (!endpoint.isOut(now)) healthy++;
    return healthy;
  }

  /** For the service's summary. */
  localHealth(now: Millis): LocalHealth {
    this.bringUpToDate(now);
    const local = this.#local;
    const limit = local?.limit.limit ?? Number.POSITIVE_INFINITY;
    this.#readDemand(now);
    const demand = this.#demand.reduce((sum, of) => sum + of, 0);
    return {
      healthy: this.healthyHere(now),
      p50Ms: this.#latency.median(),
      demand: demand * this.#arrivals.ownShare,
      arrivals: this.#arrivals.ownPerSecond,
      // What it is compared with is what runs.
      limit: limit === Number.POSITIVE_INFINITY ? undefined : local!.shownToBear,
      stalenessMs: local?.stalenessMs,
    };
  }

  /** Expected response time through `locale`, ms: the lower median of its endpoints, plus its price. */
  costOf(locale: LocaleState, now: Millis): Millis {
    return this.#meter.cost(locale, now);
  }

  /** Concurrent requests that `locale` bears from this worker; Infinity: no limit is known. */
  bearsOf(locale: LocaleState): number {
    return this.#meter.bearsNow(locale);
  }

  isUsable(locale: LocaleState, now: Millis): boolean {
    return (
      standingOf(
        locale,
        locale.endpoints.some((endpoint) => !endpoint.isOut(now)),
        now,
      ) !== OUT
    );
  }

  /** Indexes of the locales, cheapest first, as far as the dead band tells them apart. Not to be written to. */
  get ranked(): Uint32Array {
    return this.#waterfall.order.ranked;
  }

  /** Whether one more request of a class may go there now. */
  hasRoom(locale: LocaleState, priority: Priority, now: Millis): boolean {
    const bears = this.#meter.bearsNow(locale);
    if (bears === Number.POSITIVE_INFINITY || this.#superseded) return true;
    const { inflight } = locale;
    const ceiling = this.#room.ceiling(bears, priority, now);
    if (inflight + 1 <= ceiling) return true;
    if (this.#mayQueue && bears > 0) {
      // What was learnt says where more had better go; where it can go nowhere, that is no reason to turn it away.
      const most = priority === "sheddable" ? bears : this.#meter.mostNow(locale);
      return inflight < this.#room.queueCeiling(most, priority, now);
    }
    // Of a place that bears less than one at once it may take one now and then.
    return inflight < ceiling && locale.demand(now) < ceiling;
  }

  #from(i: number, constraint: PickConstraint, now: Millis, rng: Rng): EndpointState | undefined {
    if (this.rules.refusal(i, constraint) !== undefined) return undefined;
    const locale = this.locales[i]!;
    if (this.#isAvoided(locale)) return undefined;
    // A dead link, or a place that says it has nobody, is asked when everything else is gone.
    if (this.#ask.reach === "healthy" && !isOpen(locale, now)) return undefined;
    if (!this.hasRoom(locale, constraint.priority ?? "default", now)) {
      this.#isFull ||= this.#waterfall.standing[i] !== OUT;
      return undefined;
    }
    const ask = this.#ask;
    if (!locale.panics || ask.reach !== "healthy") return locale.picker.pick(ask, now, rng);
    ask.reach = "panic";
    const found = locale.picker.pick(ask, now, rng);
    ask.reach = "healthy";
    return found;
  }

  /**
   * A sibling has failed it, here or at the child that has sent it, or a child has nobody against its word: whatever
   * has befallen that one may have befallen the others as well, and there may be dozens. Who is above knows more.
   */
  #climbs({ tried, avoid = NO_CLUSTERS, visited }: PickConstraint, now: Millis): boolean {
    const locale = tried.at(-1)?.locale;
    if (locale !== undefined) return locale.kind === "sibling" || locale.saysNobody(now);
    return avoid.length > 0 && visited.length > 0 && this.rules.isBelow(visited.at(-1)!);
  }

  /** The parent, or our own endpoints if they cost less. */
  #above(constraint: PickConstraint, now: Millis, rng: Rng): EndpointState | undefined {
    const { ranked } = this.#waterfall.order;
    for (let rank = 0; rank < ranked.length; rank++) {
      const i = ranked[rank]!;
      const { kind } = this.locales[i]!;
      if (kind !== "local" && kind !== "parent") continue;
      if (this.#waterfall.standing[i] !== READY) continue;
      const found = this.#from(i, constraint, now, rng);
      if (found === undefined) continue;
      if (this.rules.parts.length > 0) this.#nameSubtree(this.#waterfall.partOf(i), constraint);
      return found;
    }
    return undefined;
  }

  /** All that may take it are full: the nearest that a few may wait for. */
  #queue(constraint: PickConstraint, now: Millis, rng: Rng): EndpointState | undefined {
    this.#mayQueue = true;
    const found = this.#next(-1, constraint, now, rng);
    this.#mayQueue = false;
    return found;
  }

  #isAvoided({ kind, cluster }: LocaleState): boolean {
    return this.#avoided.length > 0 && kind !== "local" && this.#avoided.includes(cluster);
  }

  /** The next in the order of cost, those first that serve a part; not `drawn`. */
  #next(
    drawn: number,
    constraint: PickConstraint,
    now: Millis,
    rng: Rng,
  ): EndpointState | undefined {
    const { ranked } = this.#waterfall.order;
    const hasParts = this.rules.parts.length > 0 && constraint.unbound !== true;
    for (let pass = hasParts ? 0 : 1; pass < 2; pass++) {
      for (let rank = 0; rank < ranked.length; rank++) {
        const i = ranked[rank]!;
        const part = hasParts ? this.#waterfall.partOf(i) : -1;
        if (i === drawn || part >= 0 !== (pass === 0)) continue;
        const found = this.#from(i, constraint, now, rng);
        if (found === undefined) continue;
        if (part >= 0 && this.#ask.reach !== "tried") this.#nameSubtree(part, constraint);
        return found;
      }
    }
    return undefined;
  }

  /** Requests that have to go somewhere by themselves belong to no part. */
  #nameSubtree(part: number, { within, unbound }: PickConstraint): void {
    const of = this.rules.parts[part];
    if (of === undefined || within !== undefined || unbound === true) return;
    this.pickedWithin = of.within;
    this.pickedPart = of.within !== undefined;
  }

  /** The endpoint of a session if it may and can take a request. */
  #ofSession(key: string, constraint: PickConstraint, now: Millis): EndpointState | undefined {
    this.#sessions ??= new SessionSeats(this.locales);
    const seat = this.#sessions.find(key);
    if (seat === undefined || seat.endpoint.isOut(now)) return undefined;
    const { locale } = seat;
    const part = this.#waterfall.partOf(locale.index);
    if (!isOpen(locale, now) || (this.rules.parts.length > 0 && part < 0)) return undefined;
    if (this.rules.refusal(locale.index, constraint) !== undefined) return undefined;
    if (this.#isAvoided(locale)) return undefined;
    if (!this.hasRoom(locale, constraint.priority ?? "default", now)) return undefined;
    this.#nameSubtree(part, constraint);
    return seat.endpoint;
  }

  #measure(locale: LocaleState, now: Millis): void {
    const { index: i, locale: about } = locale;
    const { cost, bears, standing, last } = this.#waterfall;
    this.#meter.measure(locale, now);
    const age = about.freshness;
    cost[i] = agedCost(this.#meter.costMs, age);
    bears[i] = this.#meter.bears;
    standing[i] = this.rules.isFenced(i) ? OUT : standingOf(locale, this.#meter.usable > 0, now);
    last[i] = age === "suspect" ? 1 : 0;
  }

  /** Where nobody else can help, doubtful verdicts on too many endpoints are not believed. */
  #lookForPanic(now: Millis): void {
    const local = this.#local;
    if (local === undefined) return;
    const { standing, size } = this.#waterfall;
    let others = 0;
    for (let i = 0; i < size && others === 0; i++) {
      if (i !== local.index && standing[i] !== OUT) others++;
    }
    const share = this.service.policy?.balance?.panicShare ?? PANIC_SHARE;
    local.panics = others === 0 && inPanic(local.endpoints, share, now);
  }

  #turn(now: Millis): void {
    this.#lookForPanic(now);
    this.#readDemand(now);
    const { size, weights: before } = this.#waterfall;
    for (let k = 0; k < before.count; k++) this.locales[before.taking[k]! % size]!.weight = 0;
    const { taking, count, shares } = this.#waterfall.turn(this.#demand, now);
    for (let k = 0; k < count; k++) {
      const slot = taking[k]!;
      this.locales[slot % size]!.weight += shares[slot]!;
    }
    this.#nextAt = now + PERIOD_MS;
  }

  /** What is stuck where nobody answers is no measure of what the others have to bear. */
  #readDemand(now: Millis): void {
    this.#arrivals.fold(now);
    let running = 0;
    for (const locale of this.#attention.locales) {
      const isHere = this.locales[locale.index] === locale;
      if (isHere && this.#waterfall.standing[locale.index] !== OUT) running += locale.demand(now);
    }
    this.#arrivals.demand(running, this.#demand);
  }
}

/** Turned away, or left alone for as long as overloaded places do. */
function isDropped(outcome: Outcome, waitedMs: Millis): boolean {
  switch (outcome) {
    case "overloaded":
    case "limited":
      return true;
    case "failed":
    case "unreachable":
      return waitedMs >= STALLED_MS;
    default:
      return false;
  }
}
