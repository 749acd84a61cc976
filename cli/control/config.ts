import { loadResources } from "#control/config/load.ts";
import { referenceProblems } from "#control/config/references.ts";
import { problemAt, type Resources, resourcesOf } from "#control/config/resources.ts";
import type { ClusterSpec } from "#control/config/schema.ts";
import { err, ok, type Problem, type Result } from "#kernel/result.ts";
import { type ClusterName, isWithin, type MeshName } from "#model/names.ts";

/** What a control service reads. */
export interface ControlConfig {
  readonly name: ClusterName;
  readonly mesh: MeshName;
  readonly spec: ClusterSpec;
  readonly resources: Resources;
}

/** One cluster's resources; a directory for several clusters needs `wanted`. */
export async function loadControlConfig(
  path: string,
  wanted: ClusterName,
): Promise<Result<ControlConfig, readonly Problem[]>> {
  const loaded = await loadResources(path);
  if (!loaded.ok) return loaded;
  const resources = resourcesOf(loaded.value, wanted);
  const [cluster] = resources.clusters;
  if (cluster === undefined) {
    const others = loaded.value.clusters.map(({ metadata }) => metadata.name);
    const message = `no Cluster ${wanted}, as the state directory says; there are: ${others.join(" ")}`;
    return err([{ source: path, path: "", message }]);
  }
  // A service that is not here may be anywhere in the mesh.
  const problems = referenceProblems(resources, { elsewhere: undefined });
  const { mesh } = cluster.spec;
  if (!isWithin(wanted, mesh)) {
    problems.push(problemAt(cluster.origin, ["spec", "mesh"], `${wanted} is not in ${mesh}`));
  }
  if (problems.length > 0) return err(problems);
  return ok({ name: wanted, mesh: mesh as MeshName, spec: cluster.spec, resources });
}
