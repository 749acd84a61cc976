import { compileConnections } from "#control/catalog/connections.ts";
import { compileHealthCheck } from "#control/catalog/health_check.ts";
import { compileTls } from "#control/catalog/service_tls.ts";
import { compileListeners } from "#control/compile/listeners.ts";
import { withRevision } from "#control/compile/revision.ts";
import { compileRequestRoutes, compileStreamRoutes } from "#control/compile/routes.ts";
import { meshNameOf, type Resource, type Resources } from "#control/config/resources.ts";
import type { ServiceSpec } from "#control/config/schema.ts";
import { coreOf, type MeshName } from "#model/names.ts";
import type { Service, Snapshot } from "#model/snapshot.ts";

/** A proxy by itself stands in the core of a mesh of one cluster. */
export const LOCAL_MESH = "local" as MeshName;

/** The snapshot of a proxy that has a file and no control service. */
export function compileStatic(resources: Resources): Snapshot {
  const cluster = coreOf(LOCAL_MESH);
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
    const tls = compileTls(service, resources);
    const connections = compileConnections(service.spec.connections);
    const healthCheck = compileHealthCheck(service.spec.healthCheck);
    return {
      name: meshNameOf(service),
      port: ports[0]!.port,
      appProtocol: ports[0]!.appProtocol,
      ...(tls === undefined ? {} : { tls }),
      ...(proxyProtocol === undefined ? {} : { proxyProtocol }),
      exported: false,
      ...(connections === undefined ? {} : { connections }),
      ...(healthCheck === undefined ? {} : { healthCheck }),
      locales: [
        {
          kind: "local",
          cluster,
          endpoints: endpoints.map(({ address, port, weight }) => ({ address, port, weight })),
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
