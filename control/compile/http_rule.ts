import { compact } from "#control/compile/compact.ts";
import { compileParts } from "#control/compile/rule_parts.ts";
import type { RouteSpec } from "#control/config/schema_route.ts";
import type { RequestMatch, RouteRule } from "#model/snapshot.ts";

/** Gateway API: a rule without matches is for every path. */
function everyPath(): RequestMatch {
  return { path: { type: "PathPrefix", value: "/" }, headers: [], queries: [], grpc: false };
}

/** A rule of an HTTPRoute. @param namespace of the route. */
export function compileHttpRule(rule: RouteSpec["rules"][number], namespace: string): RouteRule {
  const { matches, retry } = rule;
  return compact({
    matches:
      matches.length === 0
        ? [everyPath()]
        : matches.map(({ path, method, headers, queryParams }) =>
            compact({ path, method, headers, queries: queryParams, grpc: false }),
          ),
    ...compileParts(rule, namespace),
    retry:
      retry &&
      compact({
        statuses: retry.codes ?? [],
        grpcStatuses: [],
        attempts: retry.attempts,
        backoffMs: retry.backoff,
      }),
  });
}
