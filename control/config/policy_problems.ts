import { byPrecedence } from "#control/config/precedence.ts";
import {
  LOCAL_MESH,
  meshNameOf,
  problemAt,
  type Resource,
  type Resources,
  servicesByName,
} from "#control/config/resources.ts";
import type { ServiceSpec } from "#control/config/schema.ts";
import type { TrafficPolicySpec } from "#control/config/schema_traffic_policy.ts";
import type { Problem } from "#kernel/result.ts";
import { type ClusterName, coreOf, isWithin, type MeshName, serviceName } from "#model/names.ts";

type Policy = Resource<TrafficPolicySpec>;

/** All clusters of a mesh, where they are known. */
export interface KnownClusters {
  readonly names: ReadonlySet<string>;
  /** Clusters that have endpoints of a service, by its name in the mesh. */
  readonly providers: ReadonlyMap<string, ReadonlySet<string>>;
}

/** What policies and what Services say of places are judged by. */
interface Surroundings {
  readonly services: ReadonlyMap<string, Resource<ServiceSpec>>;
  /** Names of services that are defined outside; undefined: nobody can know them all. */
  readonly elsewhere: ReadonlySet<string> | undefined;
  readonly mesh: MeshName;
  readonly cluster: ClusterName;
  /** Undefined: nobody can know them all. */
  readonly clusters: KnownClusters | undefined;
}

/** What is wrong with one cluster's policies beside each other and beside what they are about. */
export function policyProblems(
  resources: Resources,
  elsewhere: ReadonlySet<string> | undefined,
  clusters?: KnownClusters,
): Problem[] {
  const { trafficPolicies, services } = resources;
  const around = surroundingsOf(resources, elsewhere, clusters);
  const policies = trafficPolicies.toSorted(byPrecedence);
  return [
    ...targetProblems(policies, around),
    ...policies.flatMap((policy) => [
      ...placesProblems(policy, around),
      ...streamProblems(policy, around),
    ]),
    ...betweenProblems(policies),
    ...services.flatMap((service) => replicationProblems(service, around)),
  ];
}

/** A proxy by itself is a mesh of one cluster; everybody else has a Cluster. */
function surroundingsOf(
  resources: Resources,
  elsewhere: ReadonlySet<string> | undefined,
  clusters: KnownClusters | undefined,
): Surroundings {
  const {
    clusters: [own],
    services,
  } = resources;
  const base = { services: servicesByName(resources), elsewhere };
  if (own !== undefined) {
    const { metadata, spec } = own;
    const [mesh, cluster] = [spec.mesh as MeshName, metadata.name as ClusterName];
    return { ...base, mesh, cluster, clusters };
  }
  const cluster = coreOf(LOCAL_MESH);
  const provided = services.filter(({ spec }) => spec.endpoints.length > 0);
  const providers = new Map(provided.map((one) => [meshNameOf(one), new Set([cluster])]));
  return { ...base, mesh: LOCAL_MESH, cluster, clusters: { names: new Set([cluster]), providers } };
}

/** The service that a policy is for, by its name in the mesh; undefined: every one. */
export function targetOf({ spec, metadata }: Policy): string | undefined {
  if (spec.targetRef?.kind !== "Service") return undefined;
  return serviceName(spec.targetRef.name, metadata.namespace);
}

function targetProblems(policies: readonly Policy[], around: Surroundings): Problem[] {
  const first = new Map<string | undefined, Policy>();
  return policies.flatMap((policy) => {
    const { spec, origin } = policy;
    const target = targetOf(policy);
    const at = ["spec", ...(spec.targetRef === undefined ? [] : ["targetRef", "name"])];
    const say = (message: string): Problem[] => [problemAt(origin, at, message)];
    if (spec.targetRef?.kind === "Cluster" && spec.targetRef.name !== around.cluster) {
      return say(`a policy is for the cluster it stands in, ${around.cluster}, and all below it`);
    }
    const before = first.get(target);
    if (before !== undefined) {
      const { metadata, origin: of } = before;
      const whose = `TrafficPolicy ${metadata.namespace}/${metadata.name}`;
      const where = `${of.source}:${of.lineOf(["metadata", "name"])}`;
      return say(`${target ?? "every service"} has ${whose} (${where}), which goes first`);
    }
    first.set(target, policy);
    const { services, elsewhere } = around;
    const isKnown = target === undefined || services.has(target);
    if (isKnown || elsewhere === undefined || elsewhere.has(target)) return [];
    return say(`no Service ${target} is defined`);
  });
}

function placesProblems(policy: Policy, around: Surroundings): Problem[] {
  const { mustStayIn, pin, split = [] } = policy.spec.places ?? {};
  const at = ["spec", "places"];
  const named = [
    ...(mustStayIn === undefined ? [] : [{ path: [...at, "mustStayIn"], cluster: mustStayIn }]),
    ...(pin === undefined ? [] : [{ path: [...at, "pin"], cluster: pin }]),
    ...split.map(({ cluster }, i) => ({ path: [...at, "split", i, "cluster"], cluster })),
  ];
  const problems = named.flatMap(({ path, cluster }) => {
    const message = clusterProblem(cluster, around);
    return message === undefined ? [] : [problemAt(policy.origin, path, message)];
  });
  const alone = mustStayIn === undefined ? undefined : fencedOff(policy, mustStayIn, around);
  if (problems.length > 0 || alone === undefined) return problems;
  return [problemAt(policy.origin, [...at, "mustStayIn"], alone)];
}

/** Why a name is no cluster that could be meant; undefined: it is one. */
function clusterProblem(name: string, { mesh, clusters }: Surroundings): string | undefined {
  if (name === mesh) return `${name} is the mesh, not a cluster`;
  if (!isWithin(name, mesh)) return `${name} is not in the mesh ${mesh}`;
  if (clusters === undefined || clusters.names.has(name)) return undefined;
  return `no Cluster ${name} is defined`;
}

/** A service that a fence leaves nobody for although somebody provides it; said only where all providers are known. */
function fencedOff(
  policy: Policy,
  fence: string,
  { clusters, cluster: here }: Surroundings,
): string | undefined {
  if (clusters === undefined) return undefined;
  const target = targetOf(policy);
  for (const [service, providers] of clusters.providers) {
    if (target !== undefined && target !== service) continue;
    const names = [...providers];
    if (names.some((provider) => isWithin(provider, fence))) continue;
    const where =
      names.length === 1 && names[0] === here ? "only here" : `only in ${names.sort().join(", ")}`;
    return `nobody in ${fence} provides ${service}, which is provided ${where}`;
  }
  return undefined;
}

/** What connections cannot be told by: they have no fields, no method and no path. */
function streamProblems(policy: Policy, { services }: Surroundings): Problem[] {
  const target = targetOf(policy);
  const service = target === undefined ? undefined : services.get(target);
  if (service?.spec.ports[0]?.appProtocol !== "tcp") return [];
  const { hedging, priority, balance, rateLimits = [] } = policy.spec;
  const isOfRequests = (type: string | undefined): boolean =>
    type === "Header" || type === "Cookie" || type === "QueryParameter";
  const paths: PropertyKey[][] = [
    ...(hedging === undefined ? [] : [["hedging"]]),
    ...(priority?.header === undefined ? [] : [["priority", "header"]]),
    ...(isOfRequests(balance?.hashOn?.type) ? [["balance", "hashOn"]] : []),
    ...rateLimits.flatMap(({ by }, i) => (isOfRequests(by?.type) ? [["rateLimits", i, "by"]] : [])),
  ];
  const message = `means nothing for Service ${target}: appProtocol tcp has connections, not requests`;
  return paths.map((path) => problemAt(policy.origin, ["spec", ...path], message));
}

/** A policy for one service stands on that for all of them: what either says of places has to fit the other's. */
function betweenProblems(policies: readonly Policy[]): Problem[] {
  const forAll = policies.find((policy) => targetOf(policy) === undefined)?.spec.places;
  return policies.flatMap((policy) => {
    const own = policy.spec.places;
    if (targetOf(policy) === undefined || own === undefined) return [];
    const fence = own.mustStayIn ?? forAll?.mustStayIn;
    if (fence === undefined) return [];
    const isFencedHere = own.mustStayIn !== undefined;
    const say = (field: string, cluster: string): Problem[] => {
      if (isWithin(cluster, fence)) return [];
      const at = ["spec", "places", isFencedHere ? "mustStayIn" : field];
      const message = `${field} ${cluster} is outside of mustStayIn: ${fence}`;
      return [problemAt(policy.origin, at, message)];
    };
    // Where one policy says both, its schema has looked.
    const other = isFencedHere ? forAll : own;
    return [
      ...(other?.pin === undefined || (isFencedHere && own.pin !== undefined)
        ? []
        : say("pin", other.pin)),
      ...(isFencedHere && own.split !== undefined
        ? []
        : (other?.split ?? []).flatMap(({ cluster }) => say("split", cluster))),
    ];
  });
}

function replicationProblems(
  { spec, origin }: Resource<ServiceSpec>,
  around: Surroundings,
): Problem[] {
  const { primary, replicas } = spec.replication ?? { primary: undefined, replicas: [] };
  if (primary === undefined) return [];
  const at = ["spec", "replication"];
  const named = replicas.map((cluster, i) => ({ path: [...at, "replicas", i], cluster }));
  return named.flatMap(({ path, cluster }) => {
    const message = clusterProblem(cluster, around);
    return message === undefined ? [] : [problemAt(origin, path, message)];
  });
}
