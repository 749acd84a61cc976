import { compileGrpcRule } from "#control/compile/grpc_rule.ts";
import { compileHttpRule } from "#control/compile/http_rule.ts";
import { listenerName } from "#control/compile/listeners.ts";
import { attachmentsOf } from "#control/config/gateway_references.ts";
import { byPrecedence } from "#control/config/precedence.ts";
import type { Resource, Resources } from "#control/config/resources.ts";
import type { ParentRef } from "#control/config/schema_rule_parts.ts";
import { serviceName } from "#model/names.ts";
import type { Route, RouteRule, StreamRoute } from "#model/snapshot.ts";

/** Every HTTPRoute and GRPCRoute, attached to the listeners that it names. */
export function compileRequestRoutes(resources: Resources): Route[] {
  const { routes, grpcRoutes } = resources;
  return [
    ...routes
      .toSorted(byPrecedence)
      .map((route) => compileRoute(route, route.spec.rules, compileHttpRule, resources)),
    ...grpcRoutes
      .toSorted(byPrecedence)
      .map((route) => compileRoute(route, route.spec.rules, compileGrpcRule, resources)),
  ];
}

type RequestRoute = Resource<{
  readonly parentRefs: readonly ParentRef[];
  readonly hostnames: string[];
}>;

function compileRoute<R>(
  route: RequestRoute,
  rules: readonly R[],
  compile: (rule: R, namespace: string) => RouteRule,
  resources: Resources,
): Route {
  const { name, namespace } = route.metadata;
  return {
    name: `${namespace}/${name}`,
    listeners: listenersOf(route, resources),
    hostnames: route.spec.hostnames,
    rules: rules.map((rule) => compile(rule, namespace)),
  };
}

/** Every TCPRoute and TLSRoute. */
export function compileStreamRoutes(resources: Resources): StreamRoute[] {
  return [...resources.streamRoutes].sort(byPrecedence).map((route) => ({
    name: `${route.metadata.namespace}/${route.metadata.name}`,
    listeners: listenersOf(route, resources),
    hostnames: route.spec.hostnames,
    backends: route.spec.rules[0]!.backendRefs.map((ref) => ({
      service: serviceName(ref.name, ref.namespace ?? route.metadata.namespace),
      weight: ref.weight,
    })),
  }));
}

function listenersOf(
  route: Resource<{ readonly parentRefs: readonly ParentRef[] }>,
  resources: Resources,
): string[] {
  return attachmentsOf(route, resources).map(({ gateway, listener }) =>
    listenerName(gateway, listener.name),
  );
}
