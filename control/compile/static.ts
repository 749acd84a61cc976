import { compileConnections } from "#control/catalog/connections.ts";
import { compileHealthCheck } from "#control/catalog/health_check.ts";
import { compileReplication } from "#control/catalog/replication.ts";
import { tlsCompiler } from "#control/catalog/service_tls.ts";
import { compact } from "#control/compile/compact.ts";
import { compileListeners } from "#control/compile/listeners.ts";
import { Policies } from "#control/compile/policy.ts";
import { policyOrders } from "#control/compile/policy_orders.ts";
import { withRevision } from "#control/compile/revision.ts";
import { compileRequestRoutes, compileStreamRoutes } from "#control/compile/routes.ts";
import {
  LOCAL_MESH,
  meshNameOf,
  type Resource,
  type Resources,
} from "#control/config/resources.ts";
import type { ServiceSpec } from "#control/config/schema.ts";
import { coreOf } from "#model/names.ts";
import type { Service, Snapshot } from "#model/snapshot.ts";
import type { TrafficPolicy } from "#model/traffic_policy.ts";

/** Who is alone in a mesh has the whole of each mesh-wide limit. */
function alone({ rateLimits, ...rest }: TrafficPolicy): TrafficPolicy {
  if (rateLimits === undefined) return rest;
  const leased = rateLimits.map((limit) =>
    limit.scope === "Mesh" ? { ...limit, leased: limit.rate } : limit,
  );
  return { ...rest, rateLimits: leased };
}

/** The snapshot of a proxy that has a file and no control service. */
export function compileStatic(resources: Resources): Snapshot {
  const cluster = coreOf(LOCAL_MESH);
  const compileTls = tlsCompiler(resources);
  const policies = new Policies(LOCAL_MESH, cluster, policyOrders(resources, cluster));
  return withRevision({
    mesh: LOCAL_MESH,
    cluster,
    listeners: compileListeners(resources),
    routes: compileRequestRoutes(resources),
    streamRoutes: compileStreamRoutes(resources),
    services: resources.services.map((service) => compileLocal(service)),
  });

  function compileLocal(service: Resource<ServiceSpec>): Service {
    const { ports, endpoints, capacity, proxyProtocol } = service.spec;
    const tls = compileTls(service);
    const connections = compileConnections(service.spec.connections);
    const healthCheck = compileHealthCheck(service.spec.healthCheck);
    const replication = compileReplication(service.spec.replication);
    const { policy, origins } = policies.of(meshNameOf(service));
    return {
      name: meshNameOf(service),
      port: ports[0]!.port,
      appProtocol: ports[0]!.appProtocol,
      ...(tls === undefined ? {} : { tls }),
      ...(proxyProtocol === undefined ? {} : { proxyProtocol }),
      exported: false,
      ...(connections === undefined ? {} : { connections }),
      ...(healthCheck === undefined ? {} : { healthCheck }),
      ...compact({
        policy: policy && alone(policy),
        policyOrigins: origins.length === 0 ? undefined : [...origins],
        replication,
      }),
      locales: [
        {
          kind: "local",
          cluster,
          endpoints: endpoints.map(({ address, port, weight, zone }) => ({
            address,
            port,
            weight,
            ...compact({ zone }),
          })),
          healthy: endpoints.length,
          ...(capacity === undefined || endpoints.length === 0
            ? {}
            : { capacity: capacity * endpoints.length }),
          egressMs: 0,
          freshness: "fresh",
        },
      ],
    };
  }
}
