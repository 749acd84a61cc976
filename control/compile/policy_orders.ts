import { compact } from "#control/compile/compact.ts";
import { fieldsOf, policyOf } from "#control/compile/policy_fields.ts";
import { byPrecedence } from "#control/config/precedence.ts";
import type { Resource, Resources } from "#control/config/resources.ts";
import type { TrafficPolicySpec } from "#control/config/schema_traffic_policy.ts";
import type { ClusterName } from "#model/names.ts";
import { serviceName } from "#model/names.ts";
import type { Order } from "#model/order.ts";
import type { TrafficPolicy } from "#model/traffic_policy.ts";

/** A policy as it goes down the tree. */
export type PolicyOrder = Extract<Order, { kind: "policy" }>;

/** What a cluster's own TrafficPolicies order it and all below it. */
export function policyOrders(resources: Resources, cluster: ClusterName): PolicyOrder[] {
  return resources.trafficPolicies.toSorted(byPrecedence).map((policy) => {
    const { targetRef } = policy.spec;
    const { namespace } = policy.metadata;
    return {
      kind: "policy",
      from: cluster,
      name: `${namespace}/${policy.metadata.name}`,
      ...(targetRef?.kind === "Service" ? { service: serviceName(targetRef.name, namespace) } : {}),
      policy: compilePolicy(policy),
    };
  });
}

/** What one TrafficPolicy says, in ms and shares. */
export function compilePolicy({ spec }: Resource<TrafficPolicySpec>): TrafficPolicy {
  const { balance, outliers, limits, waterfall, retries, hedging, priority, places } = spec;
  const { successRate, failurePercentage } = outliers ?? {};
  const said: { readonly [S in keyof TrafficPolicy]-?: unknown } = {
    balance: balance && {
      algorithm: balance.algorithm,
      hashOn: balance.hashOn,
      slowStartMs: balance.slowStart,
      subsetSize: balance.subsetSize,
      panicShare: share(balance.panicPercent),
      zoneAware: balance.zoneAware,
    },
    outliers: outliers && {
      consecutiveFailures: outliers.consecutiveFailures,
      ejectionMs: outliers.ejection,
      ejectionMaxMs: outliers.maxEjection,
      maxEjectedShare: share(outliers.maxEjectedPercent),
      intervalMs: outliers.interval,
      successRate,
      failureShare: failurePercentage && {
        ...failurePercentage,
        threshold: share(failurePercentage.threshold),
      },
    },
    limits,
    waterfall: waterfall && {
      deadBandShare: share(waterfall.deadBandPercent),
      deadBandMs: waterfall.deadBand,
      dwellMs: waterfall.dwell,
      rampMs: waterfall.ramp,
    },
    retries: retries && {
      budgetShare: share(retries.budgetPercent),
      budgetPerSecond: retries.budgetPerSecond,
    },
    hedging: hedging && { percentile: hedging.percentile, minDelayMs: hedging.minDelay },
    priority,
    rateLimits: spec.rateLimits?.map(({ requests, per, burst, ...rest }) =>
      compact({ ...rest, rate: requests / (per / 1_000), burst: burst ?? requests }),
    ),
    places,
  };
  // Objects of which nothing is said are left out: an empty one would be news.
  return policyOf(fieldsOf(said as TrafficPolicy)) ?? {};
}

function share(percent: number | undefined): number | undefined {
  return percent === undefined ? undefined : percent / 100;
}
