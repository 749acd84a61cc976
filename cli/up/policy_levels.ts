import { Policies } from "#control/compile/policy.ts";
import { policyOrders } from "#control/compile/policy_orders.ts";
import type { KnownClusters } from "#control/config/policy_problems.ts";
import { meshNameOf, problemAt, type Resources, resourcesOf } from "#control/config/resources.ts";
import type { Problem } from "#kernel/result.ts";
import { type ClusterName, lineage, type MeshName } from "#model/names.ts";

/** The clusters of a tree and who provides what. */
export function knownClusters(all: Resources): KnownClusters {
  const names = new Set(all.clusters.map(({ metadata }) => metadata.name));
  const providers = new Map<string, Set<string>>();
  for (const name of names) {
    for (const service of resourcesOf(all, name).services) {
      if (service.spec.endpoints.length === 0) continue;
      const known = providers.get(meshNameOf(service));
      if (known === undefined) providers.set(meshNameOf(service), new Set([name]));
      else known.add(name);
    }
  }
  return { names, providers };
}

/** What policies say that does not hold beside those of the clusters above: where all are known it is refused. */
export function levelProblems(all: Resources): Problem[] {
  return all.clusters.flatMap(({ metadata, spec }) => {
    const [cluster, mesh] = [metadata.name as ClusterName, spec.mesh as MeshName];
    const orders = lineage(cluster, mesh).flatMap((level) =>
      policyOrders(resourcesOf(all, level), level),
    );
    const policies = new Policies(mesh, cluster, orders);
    const services = new Set(orders.map(({ service }) => service ?? ""));
    const own = resourcesOf(all, cluster).trafficPolicies;
    return [...services].flatMap((service) =>
      policies.of(service).refused.flatMap(({ by, field, text }) => {
        const policy = own.find(
          (one) => by.name === `${one.metadata.namespace}/${one.metadata.name}`,
        );
        if (by.from !== cluster || policy === undefined) return [];
        const [section, name, part] = field.split(".");
        const limit = policy.spec.rateLimits?.findIndex((one) => one.name === name) ?? -1;
        const path =
          section === "rateLimits"
            ? ["rateLimits", limit, part === "rate" ? "requests" : part!]
            : field.split(".");
        return [problemAt(policy.origin, ["spec", ...path], text)];
      }),
    );
  });
}
