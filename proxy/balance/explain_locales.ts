import type { Millis } from "#kernel/brand.ts";
import type { LocaleState } from "#proxy/balance/locale_state.ts";
import type { PickConstraint } from "#proxy/balance/pick_constraint.ts";
import type { ServiceBalancer } from "#proxy/balance/service_balancer.ts";

/** One locale as a request would find it. */
export interface LocaleExplanation {
  readonly kind: string;
  readonly cluster: string;
  /** Share of new requests, 0 to 1. */
  readonly weight: number;
  /** Expected response time through it, ms. */
  readonly costMs: Millis;
  /** Round trip of the link, ms; null: local, or not measured yet. */
  readonly rttMs: Millis | null;
  /** Concurrent requests it can bear; null: not declared. */
  readonly capacity: number | null;
  readonly inflight: number;
  readonly endpoints: number;
  /** Of them, out because requests failed. */
  readonly ejected: number;
  /** Of them, out because active checks failed; one may be both. */
  readonly unhealthy: number;
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
  const explained = balancer.locales.map((locale) => {
    const capacity = balancer.capacityOf(locale, now);
    return {
      kind: locale.kind,
      cluster: locale.cluster,
      weight: locale.weight,
      costMs: balancer.costOf(locale, now),
      rttMs: locale.rttMs ?? null,
      capacity: capacity === Number.POSITIVE_INFINITY ? null : capacity,
      inflight: locale.inflight,
      endpoints: locale.endpoints.length,
      ejected: locale.endpoints.filter((endpoint) => endpoint.isEjected(now)).length,
      unhealthy: locale.endpoints.filter((endpoint) => endpoint.isUnhealthy).length,
      reason: reasonFor(balancer, locale, constraint, now),
    };
  });
  return explained.sort((a, b) => a.costMs - b.costMs);
}

function reasonFor(
  balancer: ServiceBalancer,
  locale: LocaleState,
  constraint: PickConstraint,
  now: Millis,
): string {
  if (!balancer.allows(locale, constraint)) {
    return constraint.visited.includes(locale.cluster) ? "visited already" : "outside the subtree";
  }
  if (!locale.linkUp) return "link is down";
  if (locale.locale.healthy === 0) return "its owner has nobody healthy";
  if (locale.endpoints.length === 0) return "has no endpoint";
  if (!balancer.isUsable(locale, now)) return allOut(locale, now);
  if (locale.weight > 0) return "takes traffic";
  return locale.locale.freshness === "fresh" ? "dearer" : `dearer or ${locale.locale.freshness}`;
}

function allOut({ endpoints }: LocaleState, now: Millis): string {
  if (endpoints.every((endpoint) => endpoint.isUnhealthy)) return "all endpoints unhealthy (check)";
  if (endpoints.every((endpoint) => endpoint.isEjected(now))) return "all endpoints ejected";
  return "all endpoints ejected or unhealthy (check)";
}
