import {
  loadPackageDefinition,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServiceDefinition,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import { fromJSON } from "@grpc/proto-loader";

/** grpc/grpc-proto, grpc/health/v1/health.proto: what is asked for. */
const PROTO = {
  nested: {
    grpc: {
      nested: {
        health: {
          nested: {
            v1: {
              nested: {
                HealthCheckRequest: { fields: { service: { type: "string", id: 1 } } },
                HealthCheckResponse: { fields: { status: { type: "ServingStatus", id: 1 } } },
                ServingStatus: {
                  values: { UNKNOWN: 0, SERVING: 1, NOT_SERVING: 2, SERVICE_UNKNOWN: 3 },
                },
                Health: {
                  methods: {
                    Check: {
                      requestType: "HealthCheckRequest",
                      responseType: "HealthCheckResponse",
                    },
                  },
                },
              },
            },
          },
        },
      },
    },
  },
};

interface Loaded {
  readonly grpc: {
    readonly health: { readonly v1: { readonly Health: { readonly service: ServiceDefinition } } };
  };
}

const definition = fromJSON(PROTO as never, { defaults: true });
const loaded = loadPackageDefinition(definition) as unknown as Loaded;
const HEALTH = loaded.grpc.health.v1.Health.service;

/** A gRPC server of `@grpc/grpc-js` whose health is what `statuses` says, by service. */
export class GrpcHealthServer {
  /** "": the whole server. A service that is not here is NOT_FOUND. */
  readonly statuses = new Map<string, "SERVING" | "NOT_SERVING" | "UNKNOWN">([["", "SERVING"]]);
  /** Services that it was asked about. */
  readonly asked: string[] = [];
  readonly #server = new Server();

  /** @param hasHealth false: a server without the service. */
  async start(hasHealth = true): Promise<number> {
    if (hasHealth) this.#server.addService(HEALTH, { Check: this.#check.bind(this) });
    return new Promise((resolve, reject) => {
      const credentials = ServerCredentials.createInsecure();
      this.#server.bindAsync("127.0.0.1:0", credentials, (error, port) => {
        if (error === null) resolve(port);
        else reject(error);
      });
    });
  }

  stop(): void {
    this.#server.forceShutdown();
  }

  #check(
    call: ServerUnaryCall<{ service: string }, object>,
    answer: sendUnaryData<{ status: string }>,
  ): void {
    const { service } = call.request;
    this.asked.push(service);
    const known = this.statuses.get(service);
    if (known === undefined) answer({ code: status.NOT_FOUND, details: "unknown service" });
    else answer(null, { status: known });
  }
}
