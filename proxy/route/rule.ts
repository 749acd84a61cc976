import type { ServiceName } from "#model/names.ts";
import type { Listener, Persistence, Route, RouteRule } from "#model/snapshot.ts";
import { compileEdits, type FieldEdits } from "#proxy/filter/field_edits.ts";
import { compileFilters, type RuleFilters } from "#proxy/filter/rule_filters.ts";

/** Something with a share. */
export interface Weighted {
  readonly weight: number;
}

/** One service that a rule sends to, and what is done to the requests that go there. */
export interface CompiledBackend extends Weighted {
  readonly service: ServiceName;
  readonly request: FieldEdits | undefined;
  readonly answer: FieldEdits | undefined;
}

/** When requests of a rule are sent again. */
export interface RetryPolicy {
  /** Undefined: the statuses that say "not now". */
  readonly statuses: ReadonlySet<number> | undefined;
  /** Of gRPC, 1 to 16. Undefined: none of them is tried again. */
  readonly grpcStatuses: ReadonlySet<number> | undefined;
  /** Undefined: as for any other request. */
  readonly attempts: number | undefined;
  readonly backoffMs: number;
}

/** One match of one rule on one listener, ready to be followed. */
export interface CompiledRule {
  readonly kind: "rule";
  readonly route: Route;
  readonly rule: RouteRule;
  readonly backends: readonly CompiledBackend[];
  readonly totalWeight: number;
  /** Undefined: there is nothing to be done but to pass it on. */
  readonly filters: RuleFilters | undefined;
  readonly retry: RetryPolicy | undefined;
  readonly persistence: Persistence | undefined;
}

/** Kind and name of a route, as its author knows it: routes of two kinds may have one name. */
export function titleOf({ name, rules }: Route): string {
  const isGrpc = rules.some(({ matches }) => matches.some(({ grpc }) => grpc));
  return `${isGrpc ? "GRPCRoute" : "HTTPRoute"} ${name}`;
}

/** @param prefix the prefix that matched; undefined if the path did otherwise. */
export function compileRule(
  about: { readonly route: Route; readonly rule: RouteRule; readonly listener: Listener },
  prefix: string | undefined,
): CompiledRule {
  const { route, rule, listener } = about;
  const backends = rule.backends.map(({ service, weight, request, answer }) => ({
    service,
    weight,
    request: compileEdits(request),
    answer: compileEdits(answer),
  }));
  const { retry, persistence } = rule;
  return {
    kind: "rule",
    route,
    rule,
    backends,
    totalWeight: backends.reduce((sum, { weight }) => sum + weight, 0),
    filters:
      rule.filters === undefined ? undefined : compileFilters(rule.filters, listener, prefix),
    retry: retry === undefined ? undefined : retryPolicy(retry),
    persistence,
  };
}

function retryPolicy(retry: NonNullable<RouteRule["retry"]>): RetryPolicy {
  const { statuses, grpcStatuses, attempts, backoffMs = 0 } = retry;
  return { statuses: setOf(statuses), grpcStatuses: setOf(grpcStatuses), attempts, backoffMs };
}

function setOf(statuses: readonly number[]): ReadonlySet<number> | undefined {
  return statuses.length === 0 ? undefined : new Set(statuses);
}
