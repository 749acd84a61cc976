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

/** The one table of inheritance; docs/configuration.md shows the same. In this order fields are merged. */
export const FIELD_RULES: Readonly<Record<PolicyField, FieldRule>> = {
  "balance.algorithm": "preference",
  // Belongs to `algorithm`: who says that says both.
  "balance.hashOn": "preference",
  "balance.slowStartMs": "preference",
  "balance.subsetSize": "preference",
  "balance.panicShare": "preference",
  "balance.zoneAware": "preference",
  "outliers.consecutiveFailures": "preference",
  "outliers.ejectionMs": "preference",
  "outliers.ejectionMaxMs": "preference",
  "outliers.maxEjectedShare": "least",
  "outliers.intervalMs": "preference",
  "outliers.successRate.stdevFactor": "preference",
  "outliers.successRate.minHosts": "preference",
  "outliers.successRate.minRequests": "preference",
  "outliers.failureShare.threshold": "preference",
  "outliers.failureShare.minHosts": "preference",
  "outliers.failureShare.minRequests": "preference",
  "limits.requests": "least",
  "limits.requestsPerCaller": "least",
  "limits.retries": "least",
  "limits.adaptive": "true",
  "waterfall.deadBandShare": "preference",
  "waterfall.deadBandMs": "preference",
  "waterfall.dwellMs": "preference",
  "waterfall.rampMs": "preference",
  "retries.budgetShare": "least",
  "retries.budgetPerSecond": "least",
  "hedging.percentile": "preference",
  "hedging.minDelayMs": "preference",
  "priority.class": "preference",
  "priority.header": "preference",
  rateLimits: "union",
  "places.mustStayIn": "narrower",
  "places.pin": "preference",
  "places.split": "preference",
};

const STEPS = (Object.keys(FIELD_RULES) as PolicyField[]).map(
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
  const rule = FIELD_RULES[field];
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
