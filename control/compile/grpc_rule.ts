import { compact } from "#control/compile/compact.ts";
import { compileParts } from "#control/compile/rule_parts.ts";
import type { GrpcRouteSpec } from "#control/config/schema_grpc_route.ts";
import { callPath } from "#model/call.ts";
import type { RequestMatch, RouteRule } from "#model/snapshot.ts";

type Rule = GrpcRouteSpec["rules"][number];
type Match = Rule["matches"][number];

/** Gateway API: a rule without matches is for every call. */
const EVERY_CALL: Match = { headers: [] };

/** A rule of a GRPCRoute. @param namespace of the route. */
export function compileGrpcRule(rule: Rule, namespace: string): RouteRule {
  const { matches, retry } = rule;
  return compact({
    matches: (matches.length === 0 ? [EVERY_CALL] : matches).map(compileMatch),
    ...compileParts(rule, namespace),
    retry:
      retry &&
      compact({
        statuses: [],
        grpcStatuses: retry.codes,
        attempts: retry.attempts,
        backoffMs: retry.backoff,
      }),
  });
}

function compileMatch({ method, headers }: Match): RequestMatch {
  const path = callPath(method ?? { type: "Exact" });
  return { path, headers: headers.slice(), queries: [], grpc: true };
}
