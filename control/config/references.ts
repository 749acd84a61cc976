import { meshNameOf, problemAt, type Resource, type Resources } from "#control/config/resources.ts";
import type { RouteSpec } from "#control/config/schema_route.ts";
import type { Problem } from "#kernel/result.ts";
import { serviceName } from "#model/names.ts";

/** What may be referred to besides what is there. */
export interface ReferenceRules {
  /** Names of services that are defined outside of `resources`; undefined: nobody can know them all. */
  readonly elsewhere: ReadonlySet<string> | undefined;
}

/** What refers to nothing, and what is there twice: the problems of one cluster's resources together. */
export function referenceProblems(resources: Resources, rules: ReferenceRules): Problem[] {
  return [
    ...duplicates(resources),
    ...listenerClashes(resources),
    ...resources.routes.flatMap((route) => [
      ...parentProblems(route, resources),
      ...backendProblems(route, resources, rules),
    ]),
    ...exportProblems(resources),
  ];
}

function duplicates(resources: Resources): Problem[] {
  const problems: Problem[] = [];
  for (const list of Object.values(resources) as ReadonlyArray<Resource<unknown>[]>) {
    const seen = new Map<string, Resource<unknown>>();
    for (const resource of list) {
      const { name, namespace } = resource.metadata;
      const key = `${namespace}/${name}`;
      const first = seen.get(key);
      if (first === undefined) seen.set(key, resource);
      else {
        const place = `${first.origin.source}:${first.origin.lineOf(["metadata", "name"])}`;
        problems.push(
          problemAt(
            resource.origin,
            ["metadata", "name"],
            `${resource.kind} ${key} is defined in ${place} already`,
          ),
        );
      }
    }
  }
  return problems;
}

function listenerClashes({ gateways }: Resources): Problem[] {
  const problems: Problem[] = [];
  const ports = new Set<number>();
  for (const { spec, origin } of gateways) {
    const names = new Set<string>();
    spec.listeners.forEach(({ name, port }, i) => {
      const at = ["spec", "listeners", i];
      if (names.has(name)) problems.push(problemAt(origin, [...at, "name"], `"${name}" is taken`));
      names.add(name);
      if (port !== 0 && ports.has(port)) {
        problems.push(problemAt(origin, [...at, "port"], `port ${port} has a listener already`));
      }
      ports.add(port);
    });
  }
  return problems;
}

function parentProblems(route: Resource<RouteSpec>, { gateways }: Resources): Problem[] {
  const problems: Problem[] = [];
  route.spec.parentRefs.forEach((ref, i) => {
    const at = ["spec", "parentRefs", i];
    const namespace = ref.namespace ?? route.metadata.namespace;
    const gateway = gateways.find(
      ({ metadata }) => metadata.name === ref.name && metadata.namespace === namespace,
    );
    if (gateway === undefined) {
      const message = `no Gateway ${namespace}/${ref.name} is defined`;
      problems.push(problemAt(route.origin, [...at, "name"], message));
      return;
    }
    const { sectionName, port } = ref;
    const named = gateway.spec.listeners.filter(
      ({ name }) => sectionName === undefined || name === sectionName,
    );
    if (named.length === 0) {
      const message = `Gateway ${namespace}/${ref.name} has no listener "${sectionName}"`;
      problems.push(problemAt(route.origin, [...at, "sectionName"], message));
    } else if (port !== undefined && !named.some((listener) => listener.port === port)) {
      const message = `Gateway ${namespace}/${ref.name} has no such listener at port ${port}`;
      problems.push(problemAt(route.origin, [...at, "port"], message));
    }
  });
  return problems;
}

function backendProblems(
  route: Resource<RouteSpec>,
  resources: Resources,
  rules: ReferenceRules,
): Problem[] {
  const problems: Problem[] = [];
  route.spec.rules.forEach((rule, r) => {
    const at = ["spec", "rules", r];
    rule.backendRefs.forEach((ref, b) => {
      problems.push(...refProblems(route, [...at, "backendRefs", b], ref, resources, rules));
    });
    rule.filters.forEach((filter, f) => {
      if (filter.type !== "RequestMirror") return;
      const place = [...at, "filters", f, "requestMirror", "backendRef"];
      const { backendRef } = filter.requestMirror;
      problems.push(...refProblems(route, place, backendRef, resources, rules));
    });
  });
  return problems;
}

function refProblems(
  route: Resource<unknown>,
  at: readonly PropertyKey[],
  ref: { readonly name: string; readonly namespace?: string | undefined; readonly port: number },
  { services }: Resources,
  { elsewhere }: ReferenceRules,
): Problem[] {
  const name = serviceName(ref.name, ref.namespace ?? route.metadata.namespace);
  const service = services.find((s) => meshNameOf(s) === name);
  if (service === undefined) {
    if (elsewhere === undefined || elsewhere.has(name)) return [];
    return [problemAt(route.origin, [...at, "name"], `no Service ${name} is defined`)];
  }
  const { port } = service.spec.ports[0]!;
  if (port === ref.port) return [];
  const message = `Service ${name} has no port ${ref.port}; its port is ${port}`;
  return [problemAt(route.origin, [...at, "port"], message)];
}

function exportProblems({ exports, services }: Resources): Problem[] {
  const defined = new Set(services.map(meshNameOf));
  return exports
    .filter((e) => !defined.has(meshNameOf(e)))
    .map((e) =>
      problemAt(e.origin, ["metadata", "name"], `no Service ${meshNameOf(e)} is defined here`),
    );
}
