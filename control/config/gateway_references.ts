import { problemAt, type Resource, type Resources } from "#control/config/resources.ts";
import type { GatewaySpec } from "#control/config/schema_gateway.ts";
import type { ParentRef } from "#control/config/schema_rule_parts.ts";
import type { Problem } from "#kernel/result.ts";

/** What is wrong with Gateways as they stand beside each other and beside what they refer to. */
export function gatewayProblems(resources: Resources): Problem[] {
  return [
    ...listenerClashes(resources),
    ...resources.gateways.flatMap((gateway) => [
      ...certificateProblems(gateway, resources),
      ...parametersProblems(gateway, resources),
    ]),
  ];
}

/** Which kinds of routes a listener's protocol can carry. */
export function takesKind(protocol: string, kind: string): boolean {
  switch (kind) {
    case "HTTPRoute":
    case "GRPCRoute":
      return protocol === "HTTP" || protocol === "HTTPS";
    case "TLSRoute":
      return protocol === "TLS";
    default:
      return protocol === "TCP";
  }
}

/** Listeners share a port if their protocol is the same and their hostnames tell them apart. */
function listenerClashes({ gateways }: Resources): Problem[] {
  const problems: Problem[] = [];
  const ports = new Map<number, { protocol: string; owner: unknown; hosts: Set<string> }>();
  for (const gateway of gateways) {
    const { spec, origin } = gateway;
    const names = new Set<string>();
    spec.listeners.forEach(({ name, port, protocol, hostname }, i) => {
      const at = ["spec", "listeners", i];
      if (names.has(name)) problems.push(problemAt(origin, [...at, "name"], `"${name}" is taken`));
      names.add(name);
      if (port === 0) return;
      const host = hostname ?? "*";
      const before = ports.get(port);
      if (before === undefined) {
        ports.set(port, { protocol, owner: gateway, hosts: new Set([host]) });
        return;
      }
      const say = (message: string): void => {
        problems.push(problemAt(origin, [...at, "port"], message));
      };
      if (before.owner !== gateway) say(`port ${port} has a listener of another Gateway already`);
      else if (before.protocol !== protocol) say(`port ${port} speaks ${before.protocol} already`);
      else if (before.hosts.has(host)) say(`port ${port} has a listener for ${host} already`);
      before.hosts.add(host);
    });
  }
  return problems;
}

function certificateProblems(
  { spec, metadata, origin }: Resource<GatewaySpec>,
  { secrets, certificates }: Resources,
): Problem[] {
  return spec.listeners.flatMap(({ tls }, l) =>
    (tls?.certificateRefs ?? []).flatMap((ref, c) => {
      const namespace = ref.namespace ?? metadata.namespace;
      const known: readonly Resource<unknown>[] = ref.kind === "Secret" ? secrets : certificates;
      const found = known.some(
        (one) => one.metadata.name === ref.name && one.metadata.namespace === namespace,
      );
      if (found) return [];
      const at = ["spec", "listeners", l, "tls", "certificateRefs", c, "name"];
      return [problemAt(origin, at, `no ${ref.kind} ${namespace}/${ref.name} is defined`)];
    }),
  );
}

function parametersProblems(
  { spec, metadata, origin }: Resource<GatewaySpec>,
  { parameters }: Resources,
): Problem[] {
  const name = spec.infrastructure?.parametersRef.name;
  if (name === undefined) return [];
  const { namespace } = metadata;
  const found = parameters.some(
    (one) => one.metadata.name === name && one.metadata.namespace === namespace,
  );
  if (found) return [];
  const at = ["spec", "infrastructure", "parametersRef", "name"];
  return [problemAt(origin, at, `no GatewayParameters ${namespace}/${name} is defined`)];
}

/** A listener that a route is attached to. */
export interface Attachment {
  readonly gateway: Resource<GatewaySpec>;
  readonly listener: GatewaySpec["listeners"][number];
}

/** The listeners that a route names and that take its kind, from its namespace. */
export function attachmentsOf(
  { kind, spec, metadata }: Resource<{ readonly parentRefs: readonly ParentRef[] }>,
  { gateways }: Resources,
): Attachment[] {
  const found = new Map<Attachment["listener"], Attachment>();
  for (const ref of spec.parentRefs) {
    const namespace = ref.namespace ?? metadata.namespace;
    const gateway = gateways.find(
      (one) => one.metadata.name === ref.name && one.metadata.namespace === namespace,
    );
    for (const listener of gateway?.spec.listeners ?? []) {
      const { name, port, protocol, allowedRoutes } = listener;
      const { from } = allowedRoutes.namespaces;
      const isNamed =
        (ref.sectionName === undefined || ref.sectionName === name) &&
        (ref.port === undefined || ref.port === port);
      const isOpen = from === "All" || (from === "Same" && metadata.namespace === namespace);
      if (isNamed && isOpen && takesKind(protocol, kind)) {
        found.set(listener, { gateway: gateway!, listener });
      }
    }
  }
  return [...found.values()];
}

/** What a route says of its Gateways that is not so. */
export function parentProblems(
  route: Resource<{ readonly parentRefs: readonly ParentRef[] }>,
  { gateways }: Resources,
): Problem[] {
  return route.spec.parentRefs.flatMap((ref, i) => {
    const at = ["spec", "parentRefs", i];
    const namespace = ref.namespace ?? route.metadata.namespace;
    const gateway = gateways.find(
      ({ metadata }) => metadata.name === ref.name && metadata.namespace === namespace,
    );
    if (gateway === undefined) {
      const message = `no Gateway ${namespace}/${ref.name} is defined`;
      return [problemAt(route.origin, [...at, "name"], message)];
    }
    const problem = attachProblem(route, ref, gateway);
    if (problem === undefined) return [];
    const message = `Gateway ${namespace}/${ref.name} ${problem.message}`;
    return [problemAt(route.origin, [...at, problem.field], message)];
  });
}

function attachProblem(
  { kind, metadata }: Resource<unknown>,
  { sectionName, port }: ParentRef,
  gateway: Resource<GatewaySpec>,
): { field: string; message: string } | undefined {
  let left = gateway.spec.listeners;
  if (sectionName !== undefined) {
    left = left.filter(({ name }) => name === sectionName);
    if (left.length === 0) {
      return { field: "sectionName", message: `has no listener "${sectionName}"` };
    }
  }
  if (port !== undefined) {
    left = left.filter((listener) => listener.port === port);
    if (left.length === 0)
      return { field: "port", message: `has no such listener at port ${port}` };
  }
  left = left.filter(({ protocol }) => takesKind(protocol, kind));
  if (left.length === 0) return { field: "name", message: `has no listener for a ${kind}` };
  const same = metadata.namespace === gateway.metadata.namespace;
  const open = left.some(({ allowedRoutes: { namespaces } }) =>
    namespaces.from === "Same" ? same : namespaces.from === "All",
  );
  if (open) return undefined;
  const message = `takes no routes from namespace ${metadata.namespace} (allowedRoutes)`;
  return { field: "namespace", message };
}
