import type { Catalog, OwnService } from "#control/catalog/catalog.ts";
import { Grants } from "#control/catalog/grants.ts";
import type { ClusterName, ServiceName } from "#model/names.ts";
import type { Freshness, Locale } from "#model/snapshot.ts";
import type { Summary } from "#model/summary.ts";

/** A service of which something is known. */
export interface Known {
  readonly name: ServiceName;
  /** The cluster's own; of two of one name the first. */
  readonly own: OwnService | undefined;
  /** What others say of it: children, then siblings and parent, as they stand in the catalog. */
  readonly others: readonly Other[];
}

/** What another cluster says of a service. */
export interface Other {
  readonly kind: Extract<Locale["kind"], "child" | "sibling" | "parent">;
  readonly cluster: ClusterName;
  readonly summary: Summary;
  readonly freshness: Freshness;
  /** Concurrent requests that it lets this cluster send there; undefined: no limit. */
  readonly grant: number | undefined;
}

/** Every service that is known, in a fixed order: equal catalogs give equal snapshots. */
export function knownServices(catalog: Catalog): Known[] {
  const { own, children, view } = catalog;
  const grants = Grants.of(catalog);
  const known = new Map<string, { own: OwnService | undefined; readonly others: Other[] }>();
  const at = (name: string) => {
    let one = known.get(name);
    if (one === undefined) {
      one = { own: undefined, others: [] };
      known.set(name, one);
    }
    return one;
  };
  for (const service of own) at(service.name).own ??= service;
  for (const { cluster, facts, freshness } of children) {
    for (const [name, summary] of facts) {
      // Clients without any endpoint are no place to go to.
      if (summary.total === 0) continue;
      const grant = grants.toChild(cluster, name);
      at(name).others.push({ kind: "child", cluster, summary, freshness, grant });
    }
  }
  for (const { kind, cluster, service, summary, freshness, grant } of view) {
    if (summary.total === 0) continue;
    at(service).others.push({ kind, cluster: cluster as ClusterName, summary, freshness, grant });
  }
  return Array.from(known.keys())
    .sort()
    .map((name) => ({ name: name as ServiceName, ...known.get(name)! }));
}
