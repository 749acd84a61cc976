import { tlsProblems } from "#control/config/backend_tls.ts";
import { gatewayProblems, parentProblems } from "#control/config/gateway_references.ts";
import { kindProblems } from "#control/config/kind_clashes.ts";
import { type KnownClusters, policyProblems } from "#control/config/policy_problems.ts";
import {
  meshNameOf,
  problemAt,
  type Resource,
  type Resources,
  servicesByName,
} from "#control/config/resources.ts";
import type { RouteFilter } from "#control/config/schema_filters.ts";
import type { RouteSpec } from "#control/config/schema_route.ts";
import type { Problem } from "#kernel/result.ts";
import { serviceName } from "#model/names.ts";

/** What may be referred to besides what is there. */
export interface ReferenceRules {
  /** Names of services that are defined outside of `resources`; undefined: nobody can know them all. */
  readonly elsewhere: ReadonlySet<string> | undefined;
  /** All clusters of the mesh; absent: nobody can know them all, or a proxy is by itself. */
  readonly clusters?: KnownClusters;
}

/** What refers to nothing, and what is there twice: the problems of one cluster's resources together. */
export function referenceProblems(resources: Resources, rules: ReferenceRules): Problem[] {
  const services = servicesByName(resources);
  const known = { services, elsewhere: rules.elsewhere };
  return [
    ...duplicates(resources),
    ...gatewayProblems(resources),
    ...resources.routes.flatMap((route) => [
      ...parentProblems(route, resources),
      ...backendProblems(route, known, onlyTunnels),
    ]),
    ...resources.grpcRoutes.flatMap((route) => [
      ...parentProblems(route, resources),
      ...backendProblems(route, known, () => false),
    ]),
    ...kindProblems(resources),
    ...resources.streamRoutes.flatMap((route) => [
      ...parentProblems(route, resources),
      ...route.spec.rules[0]!.backendRefs.flatMap((ref, b) =>
        refProblems(route, ["spec", "rules", 0, "backendRefs", b], ref, known),
      ),
    ]),
    ...exportProblems(resources),
    ...tlsProblems(resources, services),
    ...policyProblems(resources, rules.elsewhere, rules.clusters),
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

/** Services that can be referred to. */
interface KnownServices extends Pick<ReferenceRules, "elsewhere"> {
  readonly services: ReturnType<typeof servicesByName>;
}

interface RuleLike {
  readonly backendRefs: readonly Ref[];
  readonly filters: readonly RouteFilter[];
}

interface Ref {
  readonly name: string;
  readonly namespace?: string | undefined;
  readonly port: number;
}

/** True of a rule for CONNECT alone: its connections may go to either kind of service. */
function onlyTunnels({ matches }: RouteSpec["rules"][number]): boolean {
  return matches.length > 0 && matches.every(({ method }) => method === "CONNECT");
}

function backendProblems<R extends RuleLike>(
  route: Resource<{ readonly rules: readonly R[] }>,
  known: KnownServices,
  tunnels: (rule: R) => boolean,
): Problem[] {
  const problems: Problem[] = [];
  route.spec.rules.forEach((rule, r) => {
    const at = ["spec", "rules", r];
    rule.backendRefs.forEach((ref, b) => {
      const place = [...at, "backendRefs", b];
      problems.push(...refProblems(route, place, ref, known, tunnels(rule)));
    });
    rule.filters.forEach((filter, f) => {
      if (filter.type !== "RequestMirror") return;
      const place = [...at, "filters", f, "requestMirror", "backendRef"];
      const { backendRef } = filter.requestMirror;
      problems.push(...refProblems(route, place, backendRef, known));
    });
  });
  return problems;
}

/** What the services of a kind of route must speak. */
function wantedOf(kind: string): { readonly name: string; takes(appProtocol: string): boolean } {
  if (kind === "HTTPRoute") return { name: "http", takes: (spoken) => spoken !== "tcp" };
  if (kind === "GRPCRoute") {
    return { name: "grpc", takes: (spoken) => spoken === "kubernetes.io/h2c" };
  }
  return { name: "tcp", takes: (spoken) => spoken === "tcp" };
}

/** @param takesAny whatever the service speaks is fine. */
function refProblems(
  route: Resource<unknown>,
  at: readonly PropertyKey[],
  ref: Ref,
  { services, elsewhere }: KnownServices,
  takesAny = false,
): Problem[] {
  const name = serviceName(ref.name, ref.namespace ?? route.metadata.namespace);
  const service = services.get(name);
  if (service === undefined) {
    if (elsewhere === undefined || elsewhere.has(name)) return [];
    return [problemAt(route.origin, [...at, "name"], `no Service ${name} is defined`)];
  }
  const { port, appProtocol } = service.spec.ports[0]!;
  const wanted = wantedOf(route.kind);
  if (!takesAny && !wanted.takes(appProtocol)) {
    const message = `${route.kind} needs appProtocol ${wanted.name}; Service ${name} has ${appProtocol}`;
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
