import { z } from "zod";
import { hostPort, label, metadata, placeName, port } from "#control/config/scalars.ts";
import { backendTlsSpec, configMapFields } from "#control/config/schema_backend_tls.ts";
import { connectionsSpec } from "#control/config/schema_connections.ts";
import {
  certificateSpec,
  gatewaySpec,
  parametersSpec,
  tlsSecretFields,
} from "#control/config/schema_gateway.ts";
import { grpcRouteSpec } from "#control/config/schema_grpc_route.ts";
import { healthCheckProblem, healthCheckSpec } from "#control/config/schema_health.ts";
import { replicationSpec } from "#control/config/schema_replication.ts";
import { routeSpec } from "#control/config/schema_route.ts";
import { tcpRouteSpec, tlsRouteSpec } from "#control/config/schema_stream_route.ts";
import { clusterName, trafficPolicySpec } from "#control/config/schema_traffic_policy.ts";
import { APP_PROTOCOL_WORDS, spokenBy } from "#model/app_protocol.ts";
import { parseMeshName } from "#model/names.ts";

/*
 * The resources that we read, each with what we honour of it. A field that is not here is refused with
 * its place: an option that does nothing would be a lie.
 */

const serviceSpec = z
  .strictObject({
    ports: z
      .array(
        z
          .strictObject({
            name: label.optional(),
            port,
            appProtocol: z
              .enum(APP_PROTOCOL_WORDS)
              .default("http")
              .describe(
                "tcp: connections that go whole to one endpoint; kubernetes.io/h2c: HTTP/2",
              ),
          })
          .transform(({ appProtocol, ...rest }) => ({ ...rest, ...spokenBy(appProtocol) })),
      )
      .length(1, "exactly one port is supported yet"),
    endpoints: z
      .array(
        z.strictObject({
          address: placeName.describe("IP address or DNS name"),
          port,
          weight: z.number().positive().max(1_000).default(1),
          identity: z
            .string()
            .regex(/^(?:\/[A-Za-z0-9._-]{1,128}){1,16}$/, "must be a path such as /ns/shop/sa/menu")
            .optional()
            .describe("path of the SPIFFE id that a sidecar there proves; absent: plain text"),
          zone: label.optional().describe("failure domain inside the cluster"),
        }),
      )
      .max(10_000),
    capacity: z
      .number()
      .positive()
      .optional()
      .describe("concurrent requests that one healthy endpoint can bear; absent: no limit"),
    proxyProtocol: z
      .enum(["v1", "v2"])
      .optional()
      .describe("tells the endpoints of a tcp service who the client is"),
    connections: connectionsSpec.optional(),
    healthCheck: healthCheckSpec.optional(),
    replication: replicationSpec.optional().describe("absent: every place serves alike"),
  })
  .superRefine(({ ports, proxyProtocol, connections, healthCheck, replication }, ctx) => {
    const check = healthCheckProblem(healthCheck, ports[0]?.appProtocol);
    if (check !== undefined) ctx.addIssue({ code: "custom", ...check });
    if (ports[0]?.appProtocol === "tcp") {
      if (replication !== undefined) {
        const message = "not for appProtocol: tcp, where nothing tells a read from a write";
        ctx.addIssue({ code: "custom", path: ["replication"], message });
      }
      for (const field of Object.keys(connections ?? {})) {
        if (field === "connectTimeout") continue;
        const message = "not for appProtocol: tcp, where each client has a connection of its own";
        ctx.addIssue({ code: "custom", path: ["connections", field], message });
      }
    } else if (proxyProtocol !== undefined) {
      const message = "only for appProtocol: tcp; requests carry X-Forwarded-For";
      ctx.addIssue({ code: "custom", path: ["proxyProtocol"], message });
    }
  });

const clusterSpec = z.strictObject({
  mesh: z
    .string()
    .superRefine((text, ctx) => {
      const mesh = parseMeshName(text);
      if (!mesh.ok) ctx.addIssue({ code: "custom", message: mesh.error });
    })
    .describe("root of the mesh: acme.mesh"),
  parent: z
    .strictObject({ bus: hostPort, api: hostPort })
    .optional()
    .describe("where the parent's bus and API are reached; not needed in `espalier up`"),
  gateway: z
    .strictObject({
      listen: hostPort.prefault("0.0.0.0:15443"),
      advertise: hostPort.optional().describe("where others reach it; absent: as it listens"),
    })
    .prefault({}),
  bus: hostPort.prefault("0.0.0.0:15222").describe("where the cluster's nats-server listens"),
  api: hostPort.prefault("0.0.0.0:15010").describe("gRPC for proxies and children, mTLS"),
  enrol: hostPort.prefault("0.0.0.0:15011").describe("gRPC for those who join by a token"),
  admin: hostPort.prefault("127.0.0.1:15080").describe("/ready /metrics /config"),
  egressMs: z
    .strictObject({
      child: z.number().min(0).default(0),
      sibling: z.number().min(0).default(0),
      parent: z.number().min(0).default(0),
    })
    .prefault({})
    .describe("price of leaving the cluster in each direction, added to the cost in ms"),
});

const clusterMetadata = z.strictObject({
  name: clusterName,
  labels: z.record(z.string(), z.string()).optional(),
  annotations: z.record(z.string(), z.string()).default({}),
});

const apiVersions = {
  core: "v1",
  gateway: "gateway.networking.k8s.io/v1",
  gatewayAlpha: "gateway.networking.k8s.io/v1alpha2",
  mcs: "multicluster.x-k8s.io/v1alpha1",
  own: "espalier.dev/v1alpha1",
} as const;

/** A schema per kind, by `apiVersion/kind`. */
export const KINDS = {
  [`${apiVersions.gateway}/Gateway`]: resource(metadata, gatewaySpec),
  [`${apiVersions.gateway}/HTTPRoute`]: resource(metadata, routeSpec),
  [`${apiVersions.gateway}/GRPCRoute`]: resource(metadata, grpcRouteSpec),
  [`${apiVersions.gateway}/BackendTLSPolicy`]: resource(metadata, backendTlsSpec),
  [`${apiVersions.mcs}/ServiceExport`]: z.strictObject({
    apiVersion: z.string(),
    kind: z.string(),
    metadata,
  }),
  [`${apiVersions.gatewayAlpha}/TCPRoute`]: resource(metadata, tcpRouteSpec),
  [`${apiVersions.gatewayAlpha}/TLSRoute`]: resource(metadata, tlsRouteSpec),
  [`${apiVersions.gateway}/TLSRoute`]: resource(metadata, tlsRouteSpec),
  [`${apiVersions.core}/Secret`]: z
    .strictObject({ apiVersion: z.string(), kind: z.string(), metadata, ...tlsSecretFields })
    .transform(({ data, stringData, ...rest }, ctx) => {
      const spec = data ?? stringData;
      if (spec !== undefined) return { ...rest, spec };
      ctx.addIssue({ code: "custom", path: ["data"], message: "needs tls.crt and tls.key" });
      return z.NEVER;
    }),
  [`${apiVersions.core}/ConfigMap`]: z
    .strictObject({ apiVersion: z.string(), kind: z.string(), metadata, ...configMapFields })
    .transform(({ data, ...rest }) => ({ ...rest, spec: data })),
  [`${apiVersions.own}/Certificate`]: resource(metadata, certificateSpec),
  [`${apiVersions.own}/GatewayParameters`]: resource(metadata, parametersSpec),
  [`${apiVersions.own}/Service`]: resource(metadata, serviceSpec),
  [`${apiVersions.own}/TrafficPolicy`]: resource(metadata, trafficPolicySpec),
  [`${apiVersions.own}/Cluster`]: resource(clusterMetadata, clusterSpec),
} as const satisfies Record<string, z.ZodType>;

function resource<M extends z.ZodType, S extends z.ZodType>(meta: M, spec: S) {
  return z.strictObject({ apiVersion: z.string(), kind: z.string(), metadata: meta, spec });
}

export type ServiceSpec = z.infer<typeof serviceSpec>;
export type ClusterSpec = z.infer<typeof clusterSpec>;
