import type { Millis } from "#kernel/brand.ts";
import type { Refusal } from "#proxy/balance/locale_rules.ts";
import type { LocaleState } from "#proxy/balance/locale_state.ts";
import type { PickConstraint } from "#proxy/balance/pick_constraint.ts";
import type { ServiceBalancer } from "#proxy/balance/service_balancer.ts";
import { agedCost, waterfallRules } from "#proxy/balance/waterfall.ts";

/** One locale as a request would find it. What is per cluster is shown per cluster; a worker has its part of it. */
export interface LocaleExplanation {
  readonly kind: string;
  readonly cluster: string;
  /** Share of new requests, 0 to 1. */
  readonly weight: number;
  /** As the waterfall compares it: expected response time through it and its price, more where it is stale; ms. */
  readonly costMs: Millis;
  /** Round trip of the link, ms; null: local, or not measured yet. */
  readonly rttMs: Millis | null;
  /** Median response time that its owner tells, ms; null: it does not. */
  readonly p50Ms: Millis | null;
  /** Concurrent requests it can bear; null: not declared. */
  readonly capacity: number | null;
  /** Concurrent requests that it lets this cluster send; null: no limit. */
  readonly grant: number | null;
  /** Concurrent requests of this worker that it has shown to bear; null: not learnt yet. */
  readonly limit: number | null;
  /** The least of these for this worker, as far as its endpoints are well; null: no limit is known. */
  readonly bears: number | null;
  readonly inflight: number;
  readonly endpoints: number;
  /** Of them, those that have as many requests as they have shown to bear, so that others are taken. */
  readonly busy: number;
  /** So few are well that those are used, too, that only checks or comparisons speak against: nobody else can help. */
  readonly panics: boolean;
  /** Of them, out because requests failed. */
  readonly ejected: number;
  /** Of them, out because active checks failed; one may be both. */
  readonly unhealthy: number;
  readonly freshness: string;
  readonly drained: boolean;
  /** How old what is read there may be, ms; null: nobody knows, or its service has no replicas. */
  readonly stalenessMs: Millis | null;
  /** Why it gets what it gets. */
  readonly reason: string;
}

/** Every locale of a service, cheapest first, with the reason why it is taken or not. */
export function explainLocales(
  balancer: ServiceBalancer,
  constraint: PickConstraint,
  now: Millis,
): LocaleExplanation[] {
  // Without requests nobody has looked since the last one: what was out then would still weigh nothing.
  balancer.bringUpToDate(now);
  const open = (locale: LocaleState): boolean => isOpen(balancer, constraint, locale, now);
  const taking = balancer.locales.filter((locale) => locale.weight > 0 && open(locale));
  // Where those that have weight may not take it, the next one in order does.
  const next = taking.length > 0 ? undefined : firstOf(balancer, open);
  const taker = next ?? cheapest(balancer, taking, now);
  const hasReplicas = balancer.service.replication !== undefined;
  const explained = balancer.locales.map((locale) => {
    const { capacity, grant, freshness, drained = false } = locale.locale;
    return {
      kind: locale.kind,
      cluster: locale.cluster,
      weight: locale.weight,
      costMs: comparedCost(balancer, locale, now),
      rttMs: locale.rttMs ?? null,
      p50Ms: locale.locale.p50Ms ?? null,
      capacity: capacity ?? null,
      grant: grant ?? null,
      limit: finite(locale.limit.limit),
      bears: finite(balancer.bearsOf(locale)),
      inflight: locale.inflight,
      endpoints: locale.endpoints.length,
      busy: locale.endpoints.filter((endpoint) => !endpoint.hasRoom(1)).length,
      panics: locale.panics,
      ejected: locale.endpoints.filter((endpoint) => endpoint.isEjected(now)).length,
      unhealthy: locale.endpoints.filter((endpoint) => endpoint.isUnhealthy).length,
      freshness,
      drained,
      stalenessMs: hasReplicas ? finite(balancer.rules.stalenessOf(locale.index)) : null,
      reason: reasonFor({ balancer, constraint, now, taker, next }, locale),
    };
  });
  return explained.sort((a, b) => a.costMs - b.costMs);
}

function finite(value: number): number | null {
  return value === Number.POSITIVE_INFINITY ? null : value;
}

interface Case {
  readonly balancer: ServiceBalancer;
  readonly constraint: PickConstraint;
  readonly now: Millis;
  /** With whom the others are compared. */
  readonly taker: LocaleState | undefined;
  /** It takes what those cannot that have weight; undefined: they can. */
  readonly next: LocaleState | undefined;
}

/** Whether a request may and can go there. */
function isOpen(
  balancer: ServiceBalancer,
  constraint: PickConstraint,
  locale: LocaleState,
  now: Millis,
): boolean {
  return (
    balancer.rules.refusal(locale.index, constraint) === undefined &&
    balancer.isUsable(locale, now) &&
    balancer.hasRoom(locale, constraint.priority ?? "default", now)
  );
}

function firstOf(
  balancer: ServiceBalancer,
  is: (locale: LocaleState) => boolean,
): LocaleState | undefined {
  for (const i of balancer.ranked) if (is(balancer.locales[i]!)) return balancer.locales[i];
  return undefined;
}

function reasonFor(about: Case, locale: LocaleState): string {
  const { balancer, constraint, now } = about;
  const { rules } = balancer;
  const refusal = rules.refusal(locale.index, constraint);
  if (refusal !== undefined) return refused(refusal, about, locale);
  if (locale.kind !== "local" && constraint.avoid?.includes(locale.cluster) === true) {
    return "has failed this request already";
  }
  if (!locale.linkUp) return "link is down";
  if (locale.saysNobody(now)) return "said a moment ago that it has nobody";
  if (locale.locale.healthy === 0) return "its owner has nobody healthy";
  if (locale.endpoints.length === 0) return "has no endpoint";
  if (!balancer.isUsable(locale, now)) return allOut(locale, now);
  if (!balancer.hasRoom(locale, constraint.priority ?? "default", now)) {
    return `full (${locale.inflight} of ${rounded(balancer.bearsOf(locale))})`;
  }
  if (locale === about.next) return "takes this request: who has weight may not, or cannot";
  if (locale.weight > 0) return "takes traffic";
  const isPart = rules.parts.some(({ members }) => members[locale.index] !== 0);
  if (rules.parts.length > 0 && !isPart) return rules.isPinned ? "not pinned" : "not in the split";
  if (locale.locale.freshness === "suspect") return "suspect: only if nobody else is left";
  return compared(about, locale);
}

function refused(refusal: Refusal, { balancer, constraint }: Case, { index }: LocaleState): string {
  switch (refusal) {
    case "drained":
      return "drained by an operator";
    case "private":
      return "not exported to other clusters";
    case "walk":
      return "who has sent the request knows it as well";
    case "visited":
      return "visited already";
    case "subtree":
      return `outside the subtree ${constraint.within}`;
    case "fence":
      return `outside the fence ${balancer.service.policy?.places?.mustStayIn}`;
    case "primary":
      return "not the primary";
    case "stale": {
      const age = balancer.rules.stalenessOf(index);
      if (age === Number.POSITIVE_INFINITY) return "replica of unknown age";
      return `replica too old (${rounded(age / 1_000)} s)`;
    }
    default:
      return refusal satisfies never;
  }
}

function allOut({ endpoints }: LocaleState, now: Millis): string {
  if (endpoints.every((endpoint) => endpoint.isUnhealthy)) return "all endpoints unhealthy (check)";
  if (endpoints.every((endpoint) => endpoint.isEjected(now))) return "all endpoints ejected";
  return "all endpoints ejected or unhealthy (check)";
}

function compared({ balancer, now, taker }: Case, locale: LocaleState): string {
  if (taker === undefined) return "nobody takes traffic";
  const cost = comparedCost(balancer, locale, now);
  const other = comparedCost(balancer, taker, now);
  const stale = locale.locale.freshness === "stale" ? ", being stale" : "";
  if (cost < other) return `cheaper by ${rounded(other - cost)} ms, not clearly or not for long`;
  const { deadBandShare, deadBandMs } = waterfallRules(balancer.service.policy?.waterfall);
  const by = `dearer by ${rounded(cost - other)} ms${stale}`;
  const isNear = other > cost * (1 - deadBandShare) || cost - other <= deadBandMs;
  return isNear ? `${by} (inside the dead band of ${taker.cluster})` : by;
}

function cheapest(
  balancer: ServiceBalancer,
  taking: readonly LocaleState[],
  now: Millis,
): LocaleState | undefined {
  const costOf = (locale: LocaleState): Millis => comparedCost(balancer, locale, now);
  return taking.reduce<LocaleState | undefined>(
    (best, locale) => (best === undefined || costOf(locale) < costOf(best) ? locale : best),
    undefined,
  );
}

function comparedCost(balancer: ServiceBalancer, locale: LocaleState, now: Millis): Millis {
  return agedCost(balancer.costOf(locale, now), locale.locale.freshness);
}

function rounded(value: number): string {
  return String(Math.round(value * 10) / 10);
}
