import { gatewayId } from "#certs/identity/spiffe_id.ts";
import type { Catalog, OwnService } from "#control/catalog/catalog.ts";
import { isDrained } from "#control/catalog/drains.ts";
import { fresher } from "#control/catalog/merge.ts";
import { believed, newestReplication } from "#control/catalog/replication.ts";
import { compact } from "#control/compile/compact.ts";
import { type Known, knownServices, type Other } from "#control/compile/known.ts";
import { compileListeners } from "#control/compile/listeners.ts";
import { type EffectivePolicy, Policies } from "#control/compile/policy.ts";
import { policyOrders } from "#control/compile/policy_orders.ts";
import { withRevision } from "#control/compile/revision.ts";
import { compileRequestRoutes, compileStreamRoutes } from "#control/compile/routes.ts";
import type { Resources } from "#control/config/resources.ts";
import type { HostPort } from "#control/config/scalars.ts";
import type { ClusterSpec } from "#control/config/schema.ts";
import type { ClusterName } from "#model/names.ts";
import type { Endpoint, Freshness, Listener, Locale, Service, Snapshot } from "#model/snapshot.ts";
import type { GatewayAddress } from "#model/summary.ts";
import type { Replication, TrafficPolicy } from "#model/traffic_policy.ts";

/** What a cluster's snapshots are made of. */
export interface CompileInput {
  readonly catalog: Catalog;
  readonly resources: Resources;
  readonly spec: ClusterSpec;
  /** By which the cluster's gateways seal sessions, base64. */
  readonly sessionKey?: string;
}

/** Name of the listener that takes requests from other clusters. */
export const MESH_LISTENER = "mesh";

/** The snapshot of the cluster's gateway: every way that the cluster knows. */
export function compileGateway(input: CompileInput): Snapshot {
  const { catalog, resources, spec } = input;
  const { address, port } = spec.gateway.listen;
  const mesh: Listener = {
    name: MESH_LISTENER,
    address,
    port,
    protocol: "MESH",
    certificates: [],
  };
  const policies = policiesOf(input);
  return withRevision({
    ...(input.sessionKey === undefined ? {} : { sessionKey: input.sessionKey }),
    mesh: catalog.mesh,
    cluster: catalog.cluster,
    listeners: [...compileListeners(resources), mesh],
    routes: compileRequestRoutes(resources),
    streamRoutes: compileStreamRoutes(resources),
    services: knownServices(catalog).map((known) =>
      serviceOf(
        known,
        policies.of(known.name),
        [
          ...localLocales(catalog, known.own),
          ...known.others.map((other) => otherLocale(other, catalog, spec)),
        ],
        replicationOf(known, catalog),
      ),
    ),
  });
}

/**
 * The snapshot of a workload's proxy: the cluster's own endpoints, and its gateway for whatever else
 * there is. The gateway knows the rest of the mesh; a sidecar need not.
 */
export function compileSidecar(input: CompileInput): Snapshot {
  const { catalog, resources } = input;
  const policies = policiesOf(input);
  return withRevision({
    mesh: catalog.mesh,
    cluster: catalog.cluster,
    listeners: [],
    routes: compileRequestRoutes(resources),
    streamRoutes: [],
    services: knownServices(catalog).map((known) =>
      sidecarService(catalog, known, policies.of(known.name)),
    ),
  });
}

/**
 * The policies in force. Those of the cluster itself come from its resources.
 * They may be among the orders too, as those that it has for its children.
 */
function policiesOf({ catalog, resources }: CompileInput): Policies {
  const { mesh, cluster, orders } = catalog;
  return new Policies(mesh, cluster, [
    ...orders.filter(({ kind, from }) => kind !== "policy" || from !== cluster),
    ...policyOrders(resources, cluster),
  ]);
}

function serviceOf(
  { name, own, others }: Known,
  { policy, origins }: EffectivePolicy,
  locales: Locale[],
  replication?: Replication,
): Service {
  const about = own ?? others[0]!.summary;
  const { tls, proxyProtocol, connections, healthCheck } = own ?? {};
  return {
    name,
    port: about.port,
    appProtocol: about.appProtocol,
    // What is said of the cluster's own endpoints nobody else needs to know.
    ...compact({ tls, proxyProtocol, connections, healthCheck }),
    exported: own?.exported ?? true,
    ...compact({
      policy,
      policyOrigins: origins.length === 0 ? undefined : [...origins],
      replication,
    }),
    locales,
  };
}

/**
 * The newest word, as far as it is believed. What is remembered counts against what is older; by itself it makes no
 * service a replicated one.
 */
function replicationOf({ name, own, others }: Known, { newest }: Catalog): Replication | undefined {
  const word = own?.replication;
  const said = newestReplication([
    word,
    ...others.map(({ summary }) => believed(word, summary.replication)),
  ]);
  const remembered = believed(word, newest?.get(name));
  return said !== undefined && remembered !== undefined && remembered.epoch > said.epoch
    ? remembered
    : said;
}

function sidecarService(catalog: Catalog, known: Known, effective: EffectivePolicy): Service {
  const { own, others } = known;
  const { cluster, gateways } = catalog;
  const { policy, throughGateway } = ofSidecars(
    effective,
    replicationOf(known, catalog) !== undefined,
  );
  const locales = throughGateway ? [] : localLocales(catalog, own);
  const elsewhere = elsewhereOf(others);
  const local = throughGateway ? (own?.endpoints.length ?? 0) : 0;
  if (elsewhere !== undefined || local > 0) {
    locales.push({
      kind: "gateway",
      cluster,
      endpoints: gatewaysOf(cluster, gateways),
      healthy: (elsewhere?.healthy ?? 0) + local,
      egressMs: 0,
      freshness: local > 0 ? "fresh" : elsewhere!.freshness,
    });
  }
  return serviceOf(known, { ...effective, policy }, locales);
}

/**
 * What a workload's proxy follows, and whether all of the service's requests have to come by the cluster's gateway: it
 * counts what is limited for the cluster as a whole, of which a sidecar could only have a guess, and it chooses among
 * places. Behind a sidecar is one caller, whose own limit is kept there.
 */
function ofSidecars(
  { policy }: EffectivePolicy,
  hasReplicas: boolean,
): { readonly policy: TrafficPolicy | undefined; readonly throughGateway: boolean } {
  const { rateLimits, places, limits: { requests, ...limits } = {}, ...rest } = policy ?? {};
  const left = { ...rest, ...(Object.keys(limits).length === 0 ? {} : { limits }) };
  return {
    policy: Object.keys(left).length === 0 ? undefined : left,
    throughGateway:
      hasReplicas ||
      requests !== undefined ||
      places !== undefined ||
      (rateLimits !== undefined && rateLimits.length > 0),
  };
}

/** What other clusters have of a service, in sum. */
function elsewhereOf(
  others: readonly Other[],
): { readonly healthy: number; readonly freshness: Freshness } | undefined {
  const [first] = others;
  if (first === undefined) return undefined;
  return {
    healthy: others.reduce((sum, { summary }) => sum + summary.healthy, 0),
    freshness: others.reduce((best, one) => fresher(best, one.freshness), first.freshness),
  };
}

function localLocales(catalog: Catalog, own: OwnService | undefined): Locale[] {
  if (own === undefined) return [];
  const { capacityEach, endpoints } = own;
  const capacity = capacityEach === undefined ? 0 : capacityEach * endpoints.length;
  return [
    {
      kind: "local",
      cluster: catalog.cluster,
      endpoints: endpoints.map(({ address, port, weight, identity, zone }) => ({
        address,
        port,
        weight,
        ...compact({ identity, zone }),
      })),
      // A proxy judges the endpoints beside it itself; its own report must not come back as a fact.
      healthy: endpoints.length,
      ...compact({
        capacity: capacity === 0 ? undefined : capacity,
        drained: isDrained(catalog.orders, catalog.cluster) ? true : undefined,
      }),
      egressMs: 0,
      freshness: "fresh",
    },
  ];
}

function otherLocale(
  { kind, cluster, summary, freshness, grant }: Other,
  { orders }: Catalog,
  { egressMs }: ClusterSpec,
): Locale {
  const { healthy, capacity, p50Ms, stalenessMs } = summary;
  // What is reached through the parent is not the parent's alone: it looks after its own drains.
  const out = summary.drained === true || (kind !== "parent" && isDrained(orders, cluster));
  return {
    kind,
    cluster,
    // The identity is computed, never taken from what was said: a wrong address fails its handshake.
    endpoints: gatewaysOf(cluster, summary.gateways),
    healthy,
    ...compact({ capacity, grant, drained: out ? true : undefined, stalenessMs, p50Ms }),
    egressMs: egressMs[kind],
    freshness,
  };
}

function gatewaysOf(cluster: ClusterName, gateways: readonly GatewayAddress[]): Endpoint[] {
  const identity = gatewayId(cluster);
  return gateways.map(({ address, port }) => ({ address, port, weight: 1, identity }));
}

/** Where a cluster tells others to reach its gateway. @param bound the port in use, if it is known. */
export function advertised(spec: ClusterSpec, bound: HostPort | undefined): GatewayAddress[] {
  const { listen, advertise } = spec.gateway;
  const { address, port } = advertise ?? bound ?? listen;
  const isAny = address === "0.0.0.0" || address === "::";
  if (port === 0) return [];
  return [{ address: isAny ? "127.0.0.1" : address, port }];
}
