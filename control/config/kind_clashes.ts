import { type Attachment, attachmentsOf } from "#control/config/gateway_references.ts";
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
  const kept: Kept = { HTTPRoute: new Map(), GRPCRoute: new Map() };
  for (const route of [...routes, ...grpcRoutes].toSorted(byPrecedence)) {
    const attachments = attachmentsOf(route, resources);
    const isHttp = route.kind === "HTTPRoute";
    const [own, others] = isHttp
      ? [kept.HTTPRoute, kept.GRPCRoute]
      : [kept.GRPCRoute, kept.HTTPRoute];
    const problem = clashOf(route, attachments, others);
    if (problem !== undefined) {
      problems.push(problem);
      continue;
    }
    for (const { listener } of attachments) {
      let known = own.get(listener);
      if (known === undefined) {
        known = new HostOwners(listener.hostname);
        own.set(listener, known);
      }
      known.add(route);
    }
  }
  return problems;
}

/** Routes that stay, by listener. */
type OnListeners = Map<Attachment["listener"], HostOwners>;
type Kept = Readonly<Record<"HTTPRoute" | "GRPCRoute", OnListeners>>;

/** @param others of the other kind. */
function clashOf(
  route: RequestRoute,
  attachments: readonly Attachment[],
  others: OnListeners,
): Problem | undefined {
  for (const { gateway, listener } of attachments) {
    const before = others.get(listener)?.firstOf(route);
    const overlap = before && overlapOf(route, before, listener.hostname);
    if (overlap === undefined) continue;
    const at = `${gateway.metadata.namespace}/${gateway.metadata.name}/${listener.name}`;
    const owner = `${before!.kind} ${before!.metadata.namespace}/${before!.metadata.name}`;
    const message = `on listener ${at} ${overlap.host} belongs to ${owner}, which goes first`;
    return problemAt(route.origin, overlap.path, message);
  }
  return undefined;
}

/** The first host of `route` that `before` has on a listener too, and where it stands. */
function overlapOf(
  route: RequestRoute,
  before: RequestRoute,
  listenerHost: string | undefined,
): { readonly host: string; readonly path: readonly PropertyKey[] } | undefined {
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

/** Routes of one kind on one listener, found by host without looking at each. */
class HostOwners {
  readonly #listenerHost: string | undefined;
  readonly #routes: RequestRoute[] = [];
  /** First route, by place in `#routes`, that has a host, that has one below a wildcard, and that has every host. */
  readonly #having = new Map<string, number>();
  readonly #below = new Map<string, number>();
  #every = Number.POSITIVE_INFINITY;

  constructor(listenerHost: string | undefined) {
    this.#listenerHost = listenerHost;
  }

  add(route: RequestRoute): void {
    const at = this.#routes.push(route) - 1;
    const note = (where: Map<string, number>, key: string): void => {
      if (!where.has(key)) where.set(key, at);
    };
    for (const host of hostsOf(route)) {
      if (!meet(host, this.#listenerHost)) continue;
      note(this.#below, "*");
      if (host === undefined) {
        this.#every = Math.min(this.#every, at);
        continue;
      }
      note(this.#having, host);
      for (const wildcard of wildcardsOver(host)) note(this.#below, wildcard);
    }
  }

  /** The first route that has a host of `route`'s; undefined: none has. */
  firstOf(route: RequestRoute): RequestRoute | undefined {
    let first = Number.POSITIVE_INFINITY;
    const look = (at = Number.POSITIVE_INFINITY): void => {
      first = Math.min(first, at);
    };
    for (const host of hostsOf(route)) {
      if (!meet(host, this.#listenerHost)) continue;
      look(this.#every);
      look(this.#below.get(host ?? "*"));
      if (host === undefined) continue;
      look(this.#having.get(host));
      for (const wildcard of wildcardsOver(host)) look(this.#having.get(wildcard));
    }
    return this.#routes[first];
  }
}

/** `*.b.c` and `*.c` of `a.b.c`. */
function* wildcardsOver(host: string): Iterable<string> {
  for (let dot = host.indexOf("."); dot >= 0; dot = host.indexOf(".", dot + 1)) {
    yield `*${host.slice(dot)}`;
  }
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
