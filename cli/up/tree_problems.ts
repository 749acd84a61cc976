import { knownClusters, levelProblems } from "#cli/up/policy_levels.ts";
import { referenceProblems } from "#control/config/references.ts";
import {
  CLUSTER_ANNOTATION,
  meshNameOf,
  problemAt,
  type Resource,
  type Resources,
  resourcesOf,
} from "#control/config/resources.ts";
import type { ClusterSpec } from "#control/config/schema.ts";
import { err, ok, type Problem, type Result } from "#kernel/result.ts";
import { type ClusterName, type MeshName, parentOf } from "#model/names.ts";

/** A cluster of a tree, parents before children. */
export interface PlannedCluster {
  readonly name: ClusterName;
  readonly mesh: MeshName;
  readonly parent: ClusterName | undefined;
  /** Levels of clusters below it. */
  readonly tiers: number;
  readonly spec: ClusterSpec;
  readonly resources: Resources;
}

/** The tree that `resources` describe, or everything that is wrong with it. */
export function planTree(resources: Resources): Result<PlannedCluster[], Problem[]> {
  const problems = [...treeProblems(resources)];
  const names = new Set(resources.clusters.map(({ metadata }) => metadata.name));
  const services = new Set<string>(resources.services.map(meshNameOf));
  const clusters = knownClusters(resources);
  for (const name of names) {
    const own = resourcesOf(resources, name);
    problems.push(...referenceProblems(own, { elsewhere: services, clusters }));
  }
  problems.push(...levelProblems(resources));
  if (problems.length > 0) return err(unique(problems));
  const planned = resources.clusters.map((cluster) => planCluster(cluster, resources));
  const depth = ({ name, mesh }: PlannedCluster): number => depthOf(name, mesh);
  return ok(planned.sort((a, b) => depth(a) - depth(b)));
}

function planCluster(cluster: Resource<ClusterSpec>, all: Resources): PlannedCluster {
  const name = cluster.metadata.name as ClusterName;
  const mesh = cluster.spec.mesh as MeshName;
  const own = depthOf(name, mesh);
  const below = all.clusters
    .map(({ metadata }) => metadata.name as ClusterName)
    .filter((other) => other !== name && other.endsWith(`.${name}`))
    .map((other) => depthOf(other, mesh) - own);
  return {
    name,
    mesh,
    parent: parentOf(name, mesh),
    tiers: Math.max(0, ...below),
    spec: cluster.spec,
    resources: resourcesOf(all, name),
  };
}

function depthOf(name: ClusterName, mesh: MeshName): number {
  let depth = 0;
  for (let at = parentOf(name, mesh); at !== undefined; at = parentOf(at, mesh)) depth++;
  return depth;
}

function* treeProblems(resources: Resources): Iterable<Problem> {
  const { clusters } = resources;
  const names = new Set(clusters.map(({ metadata }) => metadata.name));
  const [first] = clusters;
  if (first === undefined) {
    yield { source: "", path: "", message: "no Cluster: `up` needs at least the core's" };
  }
  for (const { metadata, spec, origin } of clusters) {
    const name = metadata.name as ClusterName;
    if (spec.mesh !== first!.spec.mesh) {
      yield problemAt(origin, ["spec", "mesh"], `the tree's mesh is ${first!.spec.mesh}`);
      continue;
    }
    const parent = parentOf(name, spec.mesh as MeshName);
    if (parent === undefined && name !== `core.${spec.mesh}`) {
      yield problemAt(origin, ["metadata", "name"], `${name} is not in the mesh ${spec.mesh}`);
    } else if (parent !== undefined && !names.has(parent)) {
      yield problemAt(origin, ["metadata", "name"], `its parent ${parent} is not defined`);
    }
  }
  for (const list of Object.values(resources) as ReadonlyArray<Resource<unknown>[]>) {
    for (const { metadata, origin } of list) {
      const cluster = metadata.annotations[CLUSTER_ANNOTATION];
      if (cluster === undefined || names.has(cluster)) continue;
      const path = ["metadata", "annotations", CLUSTER_ANNOTATION];
      yield problemAt(origin, path, `no Cluster ${cluster} is defined`);
    }
  }
}

/** A resource of every cluster has its problems in each of them. */
function unique(problems: readonly Problem[]): Problem[] {
  return [...new Map(problems.map((problem) => [JSON.stringify(problem), problem])).values()];
}
