import { fileURLToPath } from "node:url";
import { loadPackageDefinition, type ServiceDefinition } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

/** Largest message, bytes: a snapshot of some 50,000 endpoints. */
export const MESSAGE_BYTES_MAX = 16 * 1_048_576;

interface Definitions {
  readonly Snapshots: { readonly service: ServiceDefinition };
  readonly Identity: { readonly service: ServiceDefinition };
  readonly Enrolment: { readonly service: ServiceDefinition };
}

function load(): Definitions {
  const definition = loadSync(fileURLToPath(new URL("espalier.proto", import.meta.url)), {
    longs: Number,
    defaults: true,
    oneofs: false,
  });
  const packages = loadPackageDefinition(definition) as unknown as {
    espalier: { control: { v1: Definitions } };
  };
  return packages.espalier.control.v1;
}

/** The services of `espalier.proto`, for servers and clients of `@grpc/grpc-js`. */
export const WIRE = load();
