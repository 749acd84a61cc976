import { allot } from "#control/catalog/allot.ts";
import type { Catalog } from "#control/catalog/catalog.ts";
import { FLOOR_SHARE } from "#control/catalog/level.ts";
import { digitsDown } from "#control/catalog/loads.ts";
import type { ClusterName } from "#model/names.ts";
import type { Order } from "#model/order.ts";

/** A part of a mesh-wide rate limit. */
export type Lease = Extract<Order, { kind: "lease" }>;

/** Who may use which part of the mesh-wide rate limits that a cluster has to divide. */
export interface Leases {
  /** This cluster's own clients. */
  readonly own: readonly Lease[];
  /** Each child, for all that is below it. */
  readonly below: ReadonlyMap<ClusterName, readonly Lease[]>;
}

/**
 * Divides the limits that are written here, and what clusters above have leased to this one, by how many requests
 * each brings per second; what nobody uses is shared evenly.
 * @param catalog whose orders have no leases of this cluster's own making in them.
 */
export function leasesOf(catalog: Catalog): Leases {
  const own: Lease[] = [];
  const below = new Map<ClusterName, Lease[]>(
    catalog.children.map(({ cluster }) => [cluster, []] as const),
  );
  for (const lease of toDivide(catalog)) {
    const { service, rate } = lease;
    const claims = [
      catalog.health.get(service as never)?.arrivals,
      ...catalog.children.map(({ facts }) => facts.get(service)?.arrivals),
    ].map((want = 0) => ({ want, floor: (FLOOR_SHARE * rate) / (1 + catalog.children.length) }));
    const [first, ...rest] = allot(rate, claims).map(digitsDown);
    own.push({ ...lease, rate: first! });
    catalog.children.forEach(({ cluster }, i) => {
      below.get(cluster)!.push({ ...lease, rate: rest[i]! });
    });
  }
  return { own, below };
}

/** What all that is here and below may use together: whole limits, and parts of them. */
function toDivide({ orders, cluster, own, children, view }: Catalog): Lease[] {
  const known = new Set<string>(own.map(({ name }) => name));
  for (const { facts } of children) for (const name of facts.keys()) known.add(name);
  for (const { service } of view) known.add(service);
  // Of a policy for all and one for the service, the latter has the last word about a name, whatever it says of it.
  const wholes = new Map<string, Lease | undefined>();
  for (const forAll of [true, false]) {
    for (const order of orders) {
      if (order.kind !== "policy" || order.from !== cluster) continue;
      if ((order.service === undefined) !== forAll) continue;
      const services = order.service === undefined ? known : [order.service];
      for (const { name: limit, scope, rate, by } of order.policy.rateLimits ?? []) {
        for (const service of services) {
          const whole: Lease = {
            ...{ kind: "lease", from: cluster, service, limit, rate },
            ...(by === undefined ? {} : { by }),
          };
          wholes.set(`${service} ${limit}`, scope === "Mesh" ? whole : undefined);
        }
      }
    }
  }
  const parts = orders.filter((order) => order.kind === "lease");
  return [...[...wholes.values()].filter((whole) => whole !== undefined), ...parts];
}
