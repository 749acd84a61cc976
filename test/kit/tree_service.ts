import type { ClusterName } from "#model/names.ts";
import { type Locale, parseSnapshot, type Service } from "#model/snapshot.ts";
import { must } from "#test/kit/mesh.ts";

/** The cluster that stands in the middle of `treeService`. */
export const HERE = "eu.acme.mesh" as ClusterName;

/** A locale by kind, cluster and the ports of its endpoints. */
export function localeAt(
  kind: Locale["kind"],
  cluster: string,
  ports: readonly number[],
  change: object = {},
): object {
  const endpoints = ports.map((port) => ({ address: "127.0.0.1", port }));
  return { kind, cluster, endpoints, healthy: ports.length, ...change };
}

/** A service as a region sees it, with these locales and whatever else is said of it. */
export function treeService(locales: readonly object[], change: object = {}): Service {
  const base = { name: "menu.shop", port: 80, appProtocol: "http", locales, ...change };
  const snapshot = { revision: "1", mesh: "acme.mesh", cluster: HERE, listeners: [], routes: [] };
  return must(parseSnapshot({ ...snapshot, services: [base] }, "test")).services[0]!;
}
