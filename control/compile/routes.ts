import { compileHttpRule } from "#control/compile/http_rule.ts";
import type { Resource, Resources } from "#control/config/resources.ts";
import type { RouteSpec } from "#control/config/schema_route.ts";
import type { Listener, Route } from "#model/snapshot.ts";

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
  return [...resources.routes].sort(byPrecedence).map((route) => ({
    name: `${route.metadata.namespace}/${route.metadata.name}`,
    listeners: attachedTo(route, resources),
    hostnames: route.spec.hostnames,
    rules: route.spec.rules.map((rule) => compileHttpRule(rule, route.metadata.namespace)),
  }));
}

/** The listeners that `refs` name. */
function attachedTo({ spec, metadata }: Resource<RouteSpec>, { gateways }: Resources): string[] {
  const names = spec.parentRefs.flatMap((ref) => {
    const namespace = ref.namespace ?? metadata.namespace;
    const gateway = gateways.find(
      (one) => one.metadata.name === ref.name && one.metadata.namespace === namespace,
    );
    if (gateway === undefined) return [];
    return gateway.spec.listeners
      .filter(({ name }) => ref.sectionName === undefined || ref.sectionName === name)
      .filter(({ port }) => ref.port === undefined || ref.port === port)
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
