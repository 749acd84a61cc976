import type { Catalog, ChildFacts, OwnHealth } from "#control/catalog/catalog.ts";
import { upward, viewParts } from "#control/catalog/views.ts";
import { entriesOf } from "#discovery/sync/parts.ts";
import type { ClusterName, MeshName, ServiceName } from "#model/names.ts";
import type { Order } from "#model/order.ts";
import type { ViewEntry } from "#model/summary.ts";
import { ownService } from "#test/kit/own_service.ts";

/** The service of these trees. */
export const MENU = "menu.shop" as ServiceName;

/** What one child is shown, by key. */
export function viewFor(catalog: Catalog, child: ClusterName): Map<string, ViewEntry> {
  return new Map([...viewParts(catalog, child).values()].flatMap((part) => [...entriesOf(part)]));
}

/** One cluster of a tree of catalogs, and how it is there. */
export interface CatalogNode {
  readonly name: string;
  /** Of its own endpoint of `menu.shop`; undefined: it has none. */
  readonly capacity?: number;
  readonly health?: Partial<OwnHealth>;
  readonly children?: readonly CatalogNode[];
}

/** The catalog of every cluster once all have heard of each other, by name; from the core down. */
export function catalogTree(
  core: CatalogNode,
  orders: readonly Order[] = [],
): Map<string, Catalog> {
  let all = new Map<string, Catalog>();
  // Who has only clients of a service says so once it has heard of it.
  for (let round = 0; round < ROUNDS; round++) {
    const below = new Map<string, Catalog>();
    rise(core, { orders, before: all }, below);
    all = new Map();
    descend(core, [], below, all);
  }
  return all;
}

const ROUNDS = 3;

interface Known {
  readonly orders: readonly Order[];
  /** The round before. */
  readonly before: ReadonlyMap<string, Catalog>;
}

/** A cluster's catalog with what its children say now and its parent said before. */
function rise(node: CatalogNode, known: Known, into: Map<string, Catalog>): Catalog {
  const children = (node.children ?? []).map((child): ChildFacts => {
    const facts = upward(rise(child, known, into));
    return { cluster: child.name as ClusterName, freshness: "fresh", facts };
  });
  const catalog: Catalog = {
    mesh: "acme.mesh" as MeshName,
    cluster: node.name as ClusterName,
    gateways: [{ address: "10.0.0.1", port: 1 }],
    own: node.capacity === undefined ? [] : [menuOf(node.capacity)],
    health: new Map([[MENU, { healthy: 1, p50Ms: undefined, ...node.health }]]),
    children,
    view: known.before.get(node.name)?.view ?? [],
    orders: known.orders,
  };
  into.set(node.name, catalog);
  return catalog;
}

function descend(
  node: CatalogNode,
  view: readonly ViewEntry[],
  below: ReadonlyMap<string, Catalog>,
  into: Map<string, Catalog>,
): void {
  const catalog = { ...below.get(node.name)!, view };
  into.set(node.name, catalog);
  for (const child of node.children ?? []) {
    const shown = viewFor(catalog, child.name as ClusterName);
    descend(child, [...shown.values()], below, into);
  }
}

function menuOf(capacity: number): Catalog["own"][number] {
  return ownService(MENU, [{ address: "10.1.0.1", port: 1 }], { capacityEach: capacity });
}
