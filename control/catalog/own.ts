import type { OwnService } from "#control/catalog/catalog.ts";
import { compileConnections } from "#control/catalog/connections.ts";
import { compileHealthCheck } from "#control/catalog/health_check.ts";
import { compileReplication } from "#control/catalog/replication.ts";
import { tlsCompiler } from "#control/catalog/service_tls.ts";
import { meshNameOf, type Resources } from "#control/config/resources.ts";
import type { ClusterName } from "#model/names.ts";

/** The cluster's own services, from its resources. */
export function ownServices(resources: Resources, cluster: ClusterName): OwnService[] {
  const compileTls = tlsCompiler(resources);
  const exported = new Set(resources.exports.map(meshNameOf));
  return resources.services.map((service) => {
    const name = meshNameOf(service);
    const { ports, endpoints, capacity, proxyProtocol, connections, healthCheck, replication } =
      service.spec;
    return {
      name,
      port: ports[0]!.port,
      exported: exported.has(name),
      endpoints: endpoints.map(({ address, port, weight, identity, zone }) => ({
        address,
        port,
        weight,
        identity: identity === undefined ? undefined : `spiffe://${cluster}${identity}`,
        zone,
      })),
      capacityEach: capacity,
      appProtocol: ports[0]!.appProtocol,
      tls: compileTls(service),
      proxyProtocol,
      connections: compileConnections(connections),
      healthCheck: compileHealthCheck(healthCheck),
      replication: compileReplication(replication),
    };
  });
}
