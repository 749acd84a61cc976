import type { OwnEndpoint, OwnService } from "#control/catalog/catalog.ts";
import type { ServiceName } from "#model/names.ts";

/** An exported service of a cluster that says nothing but this. */
export function ownService(
  name: string,
  endpoints: readonly Pick<OwnEndpoint, "address" | "port">[],
  more: Partial<OwnService> = {},
): OwnService {
  return {
    name: name as ServiceName,
    port: 80,
    exported: true,
    endpoints: endpoints.map(({ address, port }) => ({
      ...{ address, port, weight: 1, identity: undefined, zone: undefined },
    })),
    capacityEach: undefined,
    appProtocol: "http",
    tls: undefined,
    proxyProtocol: undefined,
    connections: undefined,
    healthCheck: undefined,
    replication: undefined,
    ...more,
  };
}
