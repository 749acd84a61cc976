import { gatewayProblems, parentProblems } from "#control/config/gateway_references.ts";
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
    ...gatewayProblems(resources),
    ...resources.routes.flatMap((route) => [
      ...parentProblems(route, resources),
      ...backendProblems(route, resources, rules),
    ]),
    ...resources.streamRoutes.flatMap((route) => [
      ...parentProblems(route, resources),
      ...route.spec.rules[0]!.backendRefs.flatMap((ref, b) =>
        refProblems(route, ["spec", "rules", 0, "backendRefs", b], ref, resources, rules),
      ),
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
      const key = `${resource.kind} ${namespace}/${name}`;
      const first = seen.get(key);
      if (first === undefined) seen.set(key, resource);
      else {
        const place = `${first.origin.source}:${first.origin.lineOf(["metadata", "name"])}`;
        problems.push(
          problemAt(resource.origin, ["metadata", "name"], `${key} is defined in ${place} already`),
        );
      }
    }
  }
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
    const { matches } = rule;
    const tunnels = matches.length > 0 && matches.every(({ method }) => method === "CONNECT");
    rule.backendRefs.forEach((ref, b) => {
      problems.push(
        ...refProblems(route, [...at, "backendRefs", b], ref, resources, rules, tunnels),
      );
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

/** @param tunnels the rule takes CONNECT alone: its connections may go to either kind of service. */
function refProblems(
  route: Resource<unknown>,
  at: readonly PropertyKey[],
  ref: { readonly name: string; readonly namespace?: string | undefined; readonly port: number },
  { services }: Resources,
  { elsewhere }: ReferenceRules,
  tunnels = false,
): Problem[] {
  const name = serviceName(ref.name, ref.namespace ?? route.metadata.namespace);
  const service = services.find((s) => meshNameOf(s) === name);
  if (service === undefined) {
    if (elsewhere === undefined || elsewhere.has(name)) return [];
    return [problemAt(route.origin, [...at, "name"], `no Service ${name} is defined`)];
  }
  const { port, appProtocol } = service.spec.ports[0]!;
  const wantsHttp = route.kind === "HTTPRoute";
  if ((appProtocol === "tcp") === wantsHttp && !tunnels) {
    const wanted = wantsHttp ? "http" : "tcp";
    const message = `${route.kind} needs appProtocol ${wanted}; Service ${name} has ${appProtocol}`;
    return [problemAt(route.origin, [...at, "name"], message)];
  }
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
