import { attachmentsOf } from "#control/config/gateway_references.ts";
import { byPrecedence } from "#control/config/precedence.ts";
import { problemAt, type Resource, type Resources } from "#control/config/resources.ts";
import type { ParentRef } from "#control/config/schema_rule_parts.ts";
import type { Problem } from "#kernel/result.ts";

type RequestRoute = Resource<{
  readonly parentRefs: readonly ParentRef[];
  readonly hostnames: readonly string[];
}>;

/**
 * Gateway API: on one listener a host belongs to HTTPRoutes or to GRPCRoutes. Of two that overlap the one that goes
 * first (the older, then the alphabet) stays, and the other one is refused.
 */
export function kindProblems(resources: Resources): Problem[] {
  const { routes, grpcRoutes } = resources;
  if (routes.length === 0 || grpcRoutes.length === 0) return [];
  const problems: Problem[] = [];
  const kept = new Map<unknown, RequestRoute[]>();
  for (const route of [...routes, ...grpcRoutes].toSorted(byPrecedence)) {
    const attachments = attachmentsOf(route, resources);
    const clash = attachments
      .flatMap(({ gateway, listener }) =>
        (kept.get(listener) ?? []).flatMap((before) => {
          const host = overlapOf(route, before, listener.hostname);
          const at = `${gateway.metadata.namespace}/${gateway.metadata.name}/${listener.name}`;
          return host === undefined ? [] : [{ ...host, before, at }];
        }),
      )
      .at(0);
    if (clash !== undefined) {
      const { path, host, before, at } = clash;
      const { namespace, name } = before.metadata;
      const message = `on listener ${at} ${host} belongs to ${before.kind} ${namespace}/${name}, which goes first`;
      problems.push(problemAt(route.origin, path, message));
      continue;
    }
    for (const { listener } of attachments) {
      const others = kept.get(listener) ?? [];
      kept.set(listener, [...others, route]);
    }
  }
  return problems;
}

/** The first host of `route` that `before`, of the other kind, has on a listener too, and where it stands. */
function overlapOf(
  route: RequestRoute,
  before: RequestRoute,
  listenerHost: string | undefined,
): { readonly host: string; readonly path: readonly PropertyKey[] } | undefined {
  if (route.kind === before.kind) return undefined;
  const hosts = hostsOf(route);
  for (const [i, host] of hosts.entries()) {
    const meets = hostsOf(before).some(
      // Of three sets of which each is within the next or apart, all meet if each two do.
      (other) => meet(host, other) && meet(host, listenerHost) && meet(other, listenerHost),
    );
    if (!meets) continue;
    return host === undefined
      ? { host: "every host", path: ["metadata", "name"] }
      : { host, path: ["spec", "hostnames", i] };
  }
  return undefined;
}

function hostsOf({ spec }: RequestRoute): ReadonlyArray<string | undefined> {
  return spec.hostnames.length === 0 ? [undefined] : spec.hostnames;
}

/** True if some host is of both: `shop.example.org`, `*.example.org`, or undefined for every host. */
function meet(a: string | undefined, b: string | undefined): boolean {
  if (a === undefined || b === undefined || a === b) return true;
  return isWithin(a, b) || isWithin(b, a);
}

function isWithin(host: string, pattern: string): boolean {
  return pattern.startsWith("*.") && host.endsWith(pattern.slice(1));
}
