import { gatewayId } from "#certs/identity/spiffe_id.ts";
import type { Catalog, OwnService } from "#control/catalog/catalog.ts";
import { fresher } from "#control/catalog/merge.ts";
import { compact } from "#control/compile/compact.ts";
import { compileListeners } from "#control/compile/listeners.ts";
import { withRevision } from "#control/compile/revision.ts";
import { compileRequestRoutes, compileStreamRoutes } from "#control/compile/routes.ts";
import type { Resources } from "#control/config/resources.ts";
import type { HostPort } from "#control/config/scalars.ts";
import type { ClusterSpec } from "#control/config/schema.ts";
import type { ClusterName, ServiceName } from "#model/names.ts";
import type { Endpoint, Freshness, Listener, Locale, Service, Snapshot } from "#model/snapshot.ts";
import type { GatewayAddress, Summary } from "#model/summary.ts";

/** What a cluster's snapshots are made of. */
export interface CompileInput {
  readonly catalog: Catalog;
  readonly resources: Resources;
  readonly spec: ClusterSpec;
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
  return withRevision({
    mesh: catalog.mesh,
    cluster: catalog.cluster,
    listeners: [...compileListeners(resources), mesh],
    routes: compileRequestRoutes(resources),
    streamRoutes: compileStreamRoutes(resources),
    services: namesOf(catalog).map((name) => gatewayService(input, name)),
  });
}

/**
 * The snapshot of a workload's proxy: the cluster's own endpoints, and its gateway for whatever else
 * there is. The gateway knows the rest of the mesh; a sidecar need not.
 */
export function compileSidecar(input: CompileInput): Snapshot {
  const { catalog, resources } = input;
  return withRevision({
    mesh: catalog.mesh,
    cluster: catalog.cluster,
    listeners: [],
    routes: compileRequestRoutes(resources),
    streamRoutes: [],
    services: namesOf(catalog).map((name) => sidecarService(catalog, name)),
  });
}

/** Every service that is known, in a fixed order: equal catalogs give equal snapshots. */
function namesOf({ own, children, view }: Catalog): ServiceName[] {
  const names = new Set<string>(own.map(({ name }) => name));
  for (const { facts } of children) for (const name of facts.keys()) names.add(name);
  for (const { service } of view) names.add(service);
  return [...names].sort() as ServiceName[];
}

function gatewayService({ catalog, spec }: CompileInput, name: ServiceName): Service {
  const own = catalog.own.find((service) => service.name === name);
  const locales: Locale[] = [];
  if (own !== undefined) locales.push(localLocale(catalog, own));
  let about: Summary | undefined;
  const add = (
    place: { kind: Locale["kind"]; cluster: ClusterName; egressMs: number },
    summary: Summary,
    freshness: Freshness,
  ): void => {
    about ??= summary;
    const { kind, cluster, egressMs } = place;
    const { healthy, capacity, p50Ms } = summary;
    locales.push({
      kind,
      cluster,
      // The identity is computed, never taken from what was said: a wrong address fails its handshake.
      endpoints: gatewaysOf(cluster, summary.gateways),
      healthy,
      ...(capacity === undefined ? {} : { capacity }),
      ...(p50Ms === undefined ? {} : { p50Ms }),
      egressMs,
      freshness,
    });
  };
  for (const { cluster, facts, freshness } of catalog.children) {
    const summary = facts.get(name);
    if (summary === undefined) continue;
    add({ kind: "child", cluster, egressMs: spec.egressMs.child }, summary, freshness);
  }
  for (const entry of catalog.view) {
    if (entry.service !== name) continue;
    const { kind, summary, freshness } = entry;
    const cluster = entry.cluster as ClusterName;
    add({ kind, cluster, egressMs: spec.egressMs[kind] }, summary, freshness);
  }
  return {
    name,
    port: own?.port ?? about!.port,
    appProtocol: own?.appProtocol ?? about!.appProtocol,
    ...rulesOf(own),
    exported: own?.exported ?? true,
    locales,
  };
}

function sidecarService(catalog: Catalog, name: ServiceName): Service {
  const own = catalog.own.find((service) => service.name === name);
  const locales = own === undefined ? [] : [localLocale(catalog, own)];
  const elsewhere = elsewhereOf(catalog, name);
  if (elsewhere !== undefined) {
    const { cluster, gateways } = catalog;
    locales.push({
      kind: "gateway",
      cluster,
      endpoints: gatewaysOf(cluster, gateways),
      healthy: elsewhere.healthy,
      egressMs: 0,
      freshness: elsewhere.freshness,
    });
  }
  return {
    name,
    port: own?.port ?? elsewhere!.port,
    appProtocol: own?.appProtocol ?? elsewhere!.appProtocol,
    ...rulesOf(own),
    exported: own?.exported ?? true,
    locales,
  };
}

/** What is said of the cluster's own endpoints; nobody else needs to know. */
function rulesOf(own: OwnService | undefined) {
  const { tls, proxyProtocol, connections, healthCheck } = own ?? {};
  return compact({ tls, proxyProtocol, connections, healthCheck });
}

/** What other clusters have of a service, in sum. */
interface Elsewhere {
  readonly healthy: number;
  readonly port: number;
  readonly appProtocol: Service["appProtocol"];
  readonly freshness: Freshness;
}

function elsewhereOf(catalog: Catalog, name: ServiceName): Elsewhere | undefined {
  let found: Elsewhere | undefined;
  const add = ({ healthy, port, appProtocol }: Summary, freshness: Freshness): void => {
    found = {
      appProtocol: found?.appProtocol ?? appProtocol,
      healthy: (found?.healthy ?? 0) + healthy,
      port: found?.port ?? port,
      freshness: found === undefined ? freshness : fresher(found.freshness, freshness),
    };
  };
  for (const { facts, freshness } of catalog.children) {
    const summary = facts.get(name);
    if (summary !== undefined) add(summary, freshness);
  }
  for (const { service, summary, freshness } of catalog.view) {
    if (service === name) add(summary, freshness);
  }
  return found;
}

function localLocale(catalog: Catalog, own: OwnService): Locale {
  const { capacityEach, endpoints } = own;
  const capacity = capacityEach === undefined ? 0 : capacityEach * endpoints.length;
  return {
    kind: "local",
    cluster: catalog.cluster,
    endpoints: endpoints.map(({ address, port, weight, identity }) => ({
      address,
      port,
      weight,
      ...(identity === undefined ? {} : { identity }),
    })),
    // A proxy judges the endpoints beside it itself; its own report must not come back as a fact.
    healthy: endpoints.length,
    ...(capacity === 0 ? {} : { capacity }),
    egressMs: 0,
    freshness: "fresh",
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
