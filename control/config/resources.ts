import type { Metadata } from "#control/config/scalars.ts";
import type { ClusterSpec, ServiceSpec } from "#control/config/schema.ts";
import type { BackendTlsSpec } from "#control/config/schema_backend_tls.ts";
import type {
  CertificateSpec,
  GatewaySpec,
  ParametersSpec,
} from "#control/config/schema_gateway.ts";
import type { GrpcRouteSpec } from "#control/config/schema_grpc_route.ts";
import type { RouteSpec } from "#control/config/schema_route.ts";
import type { StreamRouteSpec } from "#control/config/schema_stream_route.ts";
import type { TrafficPolicySpec } from "#control/config/schema_traffic_policy.ts";
import type { Problem } from "#kernel/result.ts";
import { type MeshName, type ServiceName, serviceName } from "#model/names.ts";
import { pathText } from "#model/problems.ts";

/** Where a resource was written. */
export interface Origin {
  readonly source: string;
  /** 1-based line of the thing at `path`, or of what is nearest to it. */
  readonly lineOf: (path: readonly PropertyKey[]) => number;
}

/** One resource as it was read. */
export interface Resource<S> {
  readonly kind: string;
  readonly metadata: Metadata;
  readonly spec: S;
  readonly origin: Origin;
}

/** A certificate and its key, PEM. */
export interface SecretSpec {
  readonly "tls.crt": string;
  readonly "tls.key": string;
}

/** Certificates of CAs, PEM. */
export interface ConfigMapSpec {
  readonly "ca.crt": string;
}

/** Everything that was read, by kind. */
export interface Resources {
  readonly gateways: Resource<GatewaySpec>[];
  readonly routes: Resource<RouteSpec>[];
  readonly grpcRoutes: Resource<GrpcRouteSpec>[];
  /** TCPRoute and TLSRoute. */
  readonly streamRoutes: Resource<StreamRouteSpec>[];
  readonly tlsPolicies: Resource<BackendTlsSpec>[];
  readonly configMaps: Resource<ConfigMapSpec>[];
  readonly secrets: Resource<SecretSpec>[];
  readonly certificates: Resource<CertificateSpec>[];
  readonly parameters: Resource<ParametersSpec>[];
  readonly services: Resource<ServiceSpec>[];
  readonly exports: Resource<undefined>[];
  readonly trafficPolicies: Resource<TrafficPolicySpec>[];
  readonly clusters: Resource<ClusterSpec>[];
}

/** An empty set, to be added to. */
export function noResources(): Resources {
  return {
    gateways: [],
    routes: [],
    grpcRoutes: [],
    streamRoutes: [],
    tlsPolicies: [],
    configMaps: [],
    secrets: [],
    certificates: [],
    parameters: [],
    services: [],
    exports: [],
    trafficPolicies: [],
    clusters: [],
  };
}

/** A proxy by itself stands in the core of a mesh of one cluster. */
export const LOCAL_MESH = "local" as MeshName;

/** A resource with this annotation belongs to that cluster alone; without it, to every one loaded. */
export const CLUSTER_ANNOTATION = "espalier.dev/cluster";

/** What belongs to `cluster`. */
export function resourcesOf(all: Resources, cluster: string): Resources {
  const isIts = ({ metadata }: { metadata: Metadata }): boolean =>
    (metadata.annotations[CLUSTER_ANNOTATION] ?? cluster) === cluster;
  return {
    gateways: all.gateways.filter(isIts),
    routes: all.routes.filter(isIts),
    grpcRoutes: all.grpcRoutes.filter(isIts),
    streamRoutes: all.streamRoutes.filter(isIts),
    tlsPolicies: all.tlsPolicies.filter(isIts),
    configMaps: all.configMaps.filter(isIts),
    secrets: all.secrets.filter(isIts),
    certificates: all.certificates.filter(isIts),
    parameters: all.parameters.filter(isIts),
    services: all.services.filter(isIts),
    exports: all.exports.filter(isIts),
    trafficPolicies: all.trafficPolicies.filter(isIts),
    clusters: all.clusters.filter(({ metadata }) => metadata.name === cluster),
  };
}

/** A Service's name in the mesh. */
export function meshNameOf({ metadata }: { readonly metadata: Metadata }): ServiceName {
  return serviceName(metadata.name, metadata.namespace);
}

/** Services by their names in the mesh; of two of one name the first, for the second is a problem. */
export function servicesByName({
  services,
}: Resources): ReadonlyMap<string, Resource<ServiceSpec>> {
  return new Map(services.toReversed().map((service) => [meshNameOf(service), service]));
}

/** A problem at one place of a resource. */
export function problemAt(origin: Origin, path: readonly PropertyKey[], message: string): Problem {
  return { source: origin.source, line: origin.lineOf(path), path: pathText(path), message };
}
