import { type Catalog, ownSummary } from "#control/catalog/catalog.ts";
import { merge, type Part } from "#control/catalog/merge.ts";
import type { ClusterName } from "#model/names.ts";
import { type Summary, type ViewEntry, viewKey } from "#model/summary.ts";

/** What the cluster says upward: its exported services and all that its children say, summed up. */
export function upward(catalog: Catalog): Map<string, Summary> {
  // Nobody could come: there is no gateway yet.
  if (catalog.gateways.length === 0) return new Map();
  const parts = partsBelow(catalog, undefined);
  const facts = new Map<string, Summary>();
  for (const [service, list] of parts) facts.set(service, merge(list, catalog.gateways).summary);
  return facts;
}

/**
 * What the cluster shows one child: each sibling by itself, at the sibling's own gateways; and as
 * `parent` everything that is reached through this cluster, at its own gateways. Never the child's own
 * facts (split horizon), so no request is sent to look for a service where it came from.
 */
export function viewFor(catalog: Catalog, child: ClusterName): Map<string, ViewEntry> {
  const view = new Map<string, ViewEntry>();
  for (const sibling of catalog.children) {
    if (sibling.cluster === child) continue;
    for (const [service, summary] of sibling.facts) {
      const { cluster, freshness } = sibling;
      view.set(viewKey(cluster, service), {
        kind: "sibling",
        cluster,
        service,
        summary,
        freshness,
      });
    }
  }
  if (catalog.gateways.length === 0) return view;
  for (const [service, parts] of partsAround(catalog, child)) {
    const { summary, freshness } = merge(parts, catalog.gateways);
    const { cluster } = catalog;
    view.set(viewKey(cluster, service), { kind: "parent", cluster, service, summary, freshness });
  }
  return view;
}

/** Own exported services and children's facts but `except`'s. */
function partsBelow(catalog: Catalog, except: ClusterName | undefined): Map<string, Part[]> {
  const parts = new Map<string, Part[]>();
  for (const service of catalog.own) {
    if (!service.exported) continue;
    add(parts, service.name, { summary: ownSummary(catalog, service), freshness: "fresh" });
  }
  for (const { cluster, facts, freshness } of catalog.children) {
    if (cluster === except) continue;
    for (const [service, summary] of facts) add(parts, service, { summary, freshness });
  }
  return parts;
}

function partsAround(catalog: Catalog, except: ClusterName): Map<string, Part[]> {
  const parts = partsBelow(catalog, except);
  // Our parent's own entry is the sum of our siblings too.
  for (const { kind, service, summary, freshness } of catalog.view) {
    if (kind === "parent") add(parts, service, { summary, freshness });
  }
  return parts;
}

function add(parts: Map<string, Part[]>, service: string, part: Part): void {
  const list = parts.get(service);
  if (list === undefined) parts.set(service, [part]);
  else list.push(part);
}
