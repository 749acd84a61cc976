import type { Resource, Resources } from "#control/config/resources.ts";
import type { RouteSpec } from "#control/config/schema.ts";
import { serviceName } from "#model/names.ts";
import type { Listener, Route, RouteRule } from "#model/snapshot.ts";

/** All addresses of the machine, IPv4 and IPv6. */
const ANY_ADDRESS = "::";

/** A listener's name in a snapshot: unique among all Gateways of a cluster. */
export function listenerName(gateway: Resource<unknown>, listener: string): string {
  const { name, namespace } = gateway.metadata;
  return `${namespace}/${name}/${listener}`;
}

/** Every listener of the cluster's Gateways. */
export function compileListeners({ gateways }: Resources): Listener[] {
  return gateways.flatMap((gateway) =>
    gateway.spec.listeners.map(({ name, port, protocol, hostname }) => ({
      name: listenerName(gateway, name),
      address: ANY_ADDRESS,
      port,
      protocol,
      ...(hostname === undefined ? {} : { hostname }),
    })),
  );
}

/** Every HTTPRoute, attached to the listeners that it names. */
export function compileHttpRoutes(resources: Resources): Route[] {
  return resources.routes.map((route) => ({
    name: `${route.metadata.namespace}/${route.metadata.name}`,
    listeners: attachedTo(route, resources),
    hostnames: route.spec.hostnames,
    rules: route.spec.rules.map((rule) => compileRule(route, rule)),
  }));
}

function attachedTo(route: Resource<RouteSpec>, { gateways }: Resources): string[] {
  return route.spec.parentRefs.flatMap((ref) => {
    const namespace = ref.namespace ?? route.metadata.namespace;
    const gateway = gateways.find(
      ({ metadata }) => metadata.name === ref.name && metadata.namespace === namespace,
    );
    if (gateway === undefined) return [];
    return gateway.spec.listeners
      .filter(({ name }) => ref.sectionName === undefined || ref.sectionName === name)
      .map(({ name }) => listenerName(gateway, name));
  });
}

function compileRule(route: Resource<RouteSpec>, rule: RouteSpec["rules"][number]): RouteRule {
  const { matches, backendRefs, timeouts } = rule;
  return {
    // Gateway API: a rule without matches is for every path.
    paths:
      matches.length === 0 ? [{ type: "PathPrefix", value: "/" }] : matches.map(({ path }) => path),
    backends: backendRefs.map((ref) => ({
      service: serviceName(ref.name, ref.namespace ?? route.metadata.namespace),
      weight: ref.weight,
    })),
    ...(timeouts.request === undefined ? {} : { requestTimeoutMs: timeouts.request }),
    ...(timeouts.backendRequest === undefined ? {} : { backendTimeoutMs: timeouts.backendRequest }),
  };
}
