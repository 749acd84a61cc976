import { compileHttpRule } from "#control/compile/http_rule.ts";
import { listenerName } from "#control/compile/listeners.ts";
import { takesKind } from "#control/config/gateway_references.ts";
import type { Resource, Resources } from "#control/config/resources.ts";
import type { ParentRef } from "#control/config/schema_route.ts";
import { serviceName } from "#model/names.ts";
import type { Route, StreamRoute } from "#model/snapshot.ts";

/** Every HTTPRoute, attached to the listeners that it names. */
export function compileHttpRoutes(resources: Resources): Route[] {
  return [...resources.routes].sort(byPrecedence).map((route) => ({
    name: `${route.metadata.namespace}/${route.metadata.name}`,
    listeners: attachedTo(route, resources),
    hostnames: route.spec.hostnames,
    rules: route.spec.rules.map((rule) => compileHttpRule(rule, route.metadata.namespace)),
  }));
}

/** Every TCPRoute and TLSRoute. */
export function compileStreamRoutes(resources: Resources): StreamRoute[] {
  return [...resources.streamRoutes].sort(byPrecedence).map((route) => ({
    name: `${route.metadata.namespace}/${route.metadata.name}`,
    listeners: attachedTo(route, resources),
    hostnames: route.spec.hostnames,
    backends: route.spec.rules[0]!.backendRefs.map((ref) => ({
      service: serviceName(ref.name, ref.namespace ?? route.metadata.namespace),
      weight: ref.weight,
    })),
  }));
}

/** The listeners that a route names and that take its kind, from its namespace. */
function attachedTo(
  { kind, spec, metadata }: Resource<{ readonly parentRefs: readonly ParentRef[] }>,
  { gateways }: Resources,
): string[] {
  const names = spec.parentRefs.flatMap((ref) => {
    const namespace = ref.namespace ?? metadata.namespace;
    const gateway = gateways.find(
      (one) => one.metadata.name === ref.name && one.metadata.namespace === namespace,
    );
    if (gateway === undefined) return [];
    return gateway.spec.listeners
      .filter(({ name }) => ref.sectionName === undefined || ref.sectionName === name)
      .filter(({ port }) => ref.port === undefined || ref.port === port)
      .filter(({ protocol }) => takesKind(protocol, kind))
      .filter(({ allowedRoutes }) => {
        const { from } = allowedRoutes.namespaces;
        return from === "All" || (from === "Same" && metadata.namespace === namespace);
      })
      .map(({ name }) => listenerName(gateway, name));
  });
  return [...new Set(names)];
}

/** Gateway API: where two are equally specific the older one wins, then the one earlier in the alphabet. */
function byPrecedence(a: Resource<unknown>, b: Resource<unknown>): number {
  const age = (one: Resource<unknown>): number =>
    Date.parse(one.metadata.creationTimestamp ?? "") || Number.POSITIVE_INFINITY;
  const [ageA, ageB] = [age(a), age(b)];
  if (ageA !== ageB) return ageA < ageB ? -1 : 1;
  const name = ({ metadata }: Resource<unknown>): string =>
    `${metadata.namespace}/${metadata.name}`;
  return name(a) < name(b) ? -1 : 1;
}
