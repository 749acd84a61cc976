import { isWithin } from "#model/names.ts";
import { NOWHERE, type TrafficPolicy } from "#model/traffic_policy.ts";

/**
 * How what a child says of a field goes together with what its parent says:
 * `preference`: the child's holds. `least`: the smaller one. `true`: true, once somebody said so. `narrower`: the subtree
 * within the other; none if they are apart. `union`: all hold, those of one name as `least`.
 */
type FieldRule = "preference" | "least" | "true" | "narrower" | "union";

/** Names of all that a policy can say: `limits.requests`. A source of keys and a list are said whole. */
type Fields<T, Path extends string = ""> = {
  [K in keyof T & string]: NonNullable<T[K]> extends
    | readonly unknown[]
    | string
    | number
    | boolean
    | { readonly type: string }
    ? `${Path}${K}`
    : Fields<NonNullable<T[K]>, `${Path}${K}.`>;
}[keyof T & string];
/** One of them. */
export type PolicyField = Fields<TrafficPolicy>;

/**
 * The one table of inheritance, which docs/configuration.md shows too, with what a field is called in a TrafficPolicy.
 * In this order fields are merged: `balance.hashOn` belongs to the algorithm before it.
 */
export const POLICY_FIELDS: Readonly<Record<PolicyField, Inheritance>> = {
  "balance.algorithm": { rule: "preference", said: "balance.algorithm" },
  "balance.hashOn": { rule: "preference", said: "balance.hashOn" },
  "balance.slowStartMs": { rule: "preference", said: "balance.slowStart" },
  "balance.subsetSize": { rule: "preference", said: "balance.subsetSize" },
  "balance.panicShare": { rule: "preference", said: "balance.panicPercent" },
  "balance.zoneAware": { rule: "preference", said: "balance.zoneAware" },
  "outliers.consecutiveFailures": { rule: "preference", said: "outliers.consecutiveFailures" },
  "outliers.ejectionMs": { rule: "preference", said: "outliers.ejection" },
  "outliers.ejectionMaxMs": { rule: "preference", said: "outliers.maxEjection" },
  "outliers.maxEjectedShare": { rule: "least", said: "outliers.maxEjectedPercent" },
  "outliers.intervalMs": { rule: "preference", said: "outliers.interval" },
  "outliers.successRate.stdevFactor": {
    rule: "preference",
    said: "outliers.successRate.stdevFactor",
  },
  "outliers.successRate.minHosts": { rule: "preference", said: "outliers.successRate.minHosts" },
  "outliers.successRate.minRequests": {
    rule: "preference",
    said: "outliers.successRate.minRequests",
  },
  "outliers.failureShare.threshold": {
    rule: "preference",
    said: "outliers.failurePercentage.threshold",
  },
  "outliers.failureShare.minHosts": {
    rule: "preference",
    said: "outliers.failurePercentage.minHosts",
  },
  "outliers.failureShare.minRequests": {
    rule: "preference",
    said: "outliers.failurePercentage.minRequests",
  },
  "limits.requests": { rule: "least", said: "limits.requests" },
  "limits.requestsPerCaller": { rule: "least", said: "limits.requestsPerCaller" },
  "limits.retries": { rule: "least", said: "limits.retries" },
  "limits.adaptive": { rule: "true", said: "limits.adaptive" },
  "waterfall.deadBandShare": { rule: "preference", said: "waterfall.deadBandPercent" },
  "waterfall.deadBandMs": { rule: "preference", said: "waterfall.deadBand" },
  "waterfall.dwellMs": { rule: "preference", said: "waterfall.dwell" },
  "waterfall.rampMs": { rule: "preference", said: "waterfall.ramp" },
  "retries.budgetShare": { rule: "least", said: "retries.budgetPercent" },
  "retries.budgetPerSecond": { rule: "least", said: "retries.budgetPerSecond" },
  "hedging.percentile": { rule: "preference", said: "hedging.percentile" },
  "hedging.minDelayMs": { rule: "preference", said: "hedging.minDelay" },
  "priority.class": { rule: "preference", said: "priority.class" },
  "priority.header": { rule: "preference", said: "priority.header" },
  rateLimits: { rule: "union", said: "rateLimits" },
  "places.mustStayIn": { rule: "narrower", said: "places.mustStayIn" },
  "places.pin": { rule: "preference", said: "places.pin" },
  "places.split": { rule: "preference", said: "places.split" },
};

interface Inheritance {
  readonly rule: FieldRule;
  /** Its name in YAML. */
  readonly said: string;
}

const STEPS = (Object.keys(POLICY_FIELDS) as PolicyField[]).map(
  (field) => [field, field.split(".")] as const,
);

/** All that a policy says, in the order of the table. */
export function* fieldsOf(policy: TrafficPolicy): Iterable<readonly [PolicyField, unknown]> {
  for (const [field, steps] of STEPS) {
    let at: unknown = policy;
    for (const step of steps) at = (at as Record<string, unknown> | undefined)?.[step];
    if (at !== undefined) yield [field, at];
  }
}

/** The policy that says these fields and no others; undefined if there are none. */
export function policyOf(
  fields: Iterable<readonly [PolicyField, unknown]>,
): TrafficPolicy | undefined {
  let policy: Record<string, unknown> | undefined;
  for (const [field, value] of fields) {
    policy ??= {};
    const steps = field.split(".");
    let at = policy;
    for (const step of steps.slice(0, -1)) {
      at[step] ??= {};
      at = at[step] as Record<string, unknown>;
    }
    at[steps.at(-1)!] = value;
  }
  return policy as TrafficPolicy | undefined;
}

/** What holds of a parent's and a child's value. */
export interface Kept<V> {
  readonly value: V;
  /** Whose it is: of equals the parent's. */
  readonly of: "parent" | "child";
  /** Why the child's does not hold; undefined: it does, or is the same. */
  readonly problem?: "looser" | "contradiction";
}

/** Merges two values of a field that is no list of limits. Associative over levels. */
export function tighten(field: PolicyField, parent: unknown, child: unknown): Kept<unknown> {
  const { rule } = POLICY_FIELDS[field];
  if (rule === "preference") return { value: child, of: "child" };
  if (child === parent) return { value: parent, of: "parent" };
  if (rule === "least") return least(parent as number, child as number);
  if (rule === "true") {
    if (parent === true) return { value: parent, of: "parent", problem: "looser" };
    return { value: child, of: "child" };
  }
  const [fence, inner] = [parent as string, child as string];
  if (isWithin(inner, fence)) return { value: inner, of: "child" };
  if (isWithin(fence, inner)) return { value: fence, of: "parent", problem: "looser" };
  return { value: NOWHERE, of: "parent", problem: "contradiction" };
}

/** The smaller of two. */
export function least(parent: number, child: number): Kept<number> {
  if (child < parent) return { value: child, of: "child" };
  if (child === parent) return { value: parent, of: "parent" };
  return { value: parent, of: "parent", problem: "looser" };
}
