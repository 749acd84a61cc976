import { isDrained } from "#control/catalog/drains.ts";
import { leftFor, STEP, stepUp } from "#control/catalog/loads.ts";
import type { HealthCheck } from "#model/health_check.ts";
import type { ClusterName, MeshName, ServiceName } from "#model/names.ts";
import type { Order } from "#model/order.ts";
import type { ConnectionRules, Freshness, Service, ServiceTls } from "#model/snapshot.ts";
import type { GatewayAddress, Summary, ViewEntry } from "#model/summary.ts";
import type { Replication } from "#model/traffic_policy.ts";

/** A service of this cluster itself. */
export interface OwnService {
  readonly name: ServiceName;
  readonly port: number;
  readonly exported: boolean;
  readonly endpoints: readonly OwnEndpoint[];
  /** Concurrent requests that one endpoint can bear. */
  readonly capacityEach: number | undefined;
  readonly appProtocol: Service["appProtocol"];
  /** How its endpoints are verified that prove no identity; undefined: they are not. */
  readonly tls: ServiceTls | undefined;
  readonly proxyProtocol: Service["proxyProtocol"];
  readonly connections: ConnectionRules | undefined;
  readonly healthCheck: HealthCheck | undefined;
  readonly replication: Replication | undefined;
}

/** One endpoint of an own service. */
export interface OwnEndpoint {
  readonly address: string;
  readonly port: number;
  readonly weight: number;
  /** SPIFFE id to be proved; undefined: plain text, or the service's `tls`. */
  readonly identity: string | undefined;
  /** Failure domain; undefined: not told. */
  readonly zone: string | undefined;
}

/** What the cluster's own gateways measure of a service. */
export interface OwnHealth {
  readonly healthy: number;
  readonly p50Ms: number | undefined;
  /** Concurrent requests that clients of this cluster bring; undefined: not told. */
  readonly demand?: number | undefined;
  /** Requests per second that they bring; undefined: not told. */
  readonly arrivals?: number | undefined;
  /** Concurrent requests that the endpoints have shown to bear; undefined: not learnt. */
  readonly limit?: number | undefined;
  /** How old the replica's data is at most, ms; undefined: it does not say. */
  readonly stalenessMs?: number | undefined;
}

/** What one child says, and how old that is. Expired children are not in a catalog. */
export interface ChildFacts {
  readonly cluster: ClusterName;
  readonly freshness: Freshness;
  readonly facts: ReadonlyMap<string, Summary>;
}

/** Everything that one cluster knows: its own, its children, and what its parent shows it. */
export interface Catalog {
  readonly mesh: MeshName;
  readonly cluster: ClusterName;
  /** Where other clusters reach this one. */
  readonly gateways: readonly GatewayAddress[];
  readonly own: readonly OwnService[];
  readonly health: ReadonlyMap<ServiceName, OwnHealth>;
  readonly children: readonly ChildFacts[];
  /** Entries no fresher than the link to the parent allows. */
  readonly view: readonly ViewEntry[];
  /** What this cluster orders itself and what its parent has ordered it. */
  readonly orders: readonly Order[];
  /** The newest that was ever heard of where data is, by service; absent: nothing is remembered. */
  readonly newest?: ReadonlyMap<string, Replication>;
}

/** Healthy endpoints of an own service: all, until a gateway has reported. */
function healthyOf(catalog: Catalog, service: OwnService): number {
  const reported = catalog.health.get(service.name)?.healthy;
  return Math.min(service.endpoints.length, reported ?? service.endpoints.length);
}

/**
 * Concurrent requests that an own service can bear; undefined: neither declared nor learnt, or nobody healthy. What was
 * learnt only lowers what is declared: it was learnt under what load there was.
 */
function ownCapacity(catalog: Catalog, service: OwnService): number | undefined {
  const healthy = healthyOf(catalog, service);
  if (healthy === 0) return undefined;
  const declared = (service.capacityEach ?? Number.POSITIVE_INFINITY) * healthy;
  const limit = catalog.health.get(service.name)?.limit ?? Number.POSITIVE_INFINITY;
  const capacity = Math.min(declared, LIMIT_ROOM * stepUp(limit));
  return Number.isFinite(capacity) && capacity > 0 ? capacity : undefined;
}

/** A limit moves up while it is used: what is told leaves room for that. */
const LIMIT_ROOM = 1.25;

/** An own service as others are told of it. */
export function ownSummary(catalog: Catalog, service: OwnService): Summary {
  const capacity = ownCapacity(catalog, service);
  const { p50Ms, demand, arrivals, stalenessMs } = catalog.health.get(service.name) ?? {};
  const wanted = demand === undefined ? undefined : stepUp(demand);
  return {
    gateways: [...catalog.gateways],
    healthy: healthyOf(catalog, service),
    total: service.endpoints.length,
    ...(capacity === undefined ? {} : { capacity }),
    ...(capacity === undefined ? {} : { offer: leftFor(capacity, wanted ?? 0) }),
    ...(wanted === undefined ? {} : { demand: wanted }),
    ...(arrivals === undefined ? {} : { arrivals: stepUp(arrivals) }),
    ...(stalenessMs === undefined ? {} : { stalenessMs: stepUp(stalenessMs) }),
    ...(isDrained(catalog.orders, catalog.cluster) ? { drained: true } : {}),
    ...(p50Ms === undefined ? {} : { p50Ms: quantise(p50Ms) }),
    port: service.port,
    appProtocol: service.appProtocol,
    ...(service.replication === undefined ? {} : { replication: service.replication }),
  };
}

/** To steps of about 25 %: noise must not be news. */
export function quantise(ms: number): number {
  if (ms <= 0.25) return 0.25;
  const step = Math.round(Math.log(ms) / Math.log(STEP));
  return Number((STEP ** step).toPrecision(3));
}
