import { z } from "zod";
import { anyPort, hostname, hostPort, label, metadata, port } from "#control/config/scalars.ts";
import { routeSpec } from "#control/config/schema_route.ts";
import { parseClusterName, parseMeshName } from "#model/names.ts";

/*
 * The resources that we read, each with what we honour of it. A field that is not here is refused with
 * its place: an option that does nothing would be a lie.
 */

const gatewaySpec = z.strictObject({
  gatewayClassName: z.literal("espalier"),
  listeners: z
    .array(
      z.strictObject({
        name: label,
        port: anyPort,
        protocol: z.literal("HTTP", "only HTTP is supported yet"),
        hostname: hostname.optional(),
      }),
    )
    .min(1),
});

const serviceSpec = z.strictObject({
  ports: z
    .array(
      z.strictObject({
        name: label.optional(),
        port,
        appProtocol: z.literal("http").default("http"),
      }),
    )
    .length(1, "exactly one port is supported yet"),
  endpoints: z
    .array(
      z.strictObject({
        address: z.string().min(1).max(253).describe("IP address or DNS name"),
        port,
        weight: z.number().positive().max(1_000).default(1),
        identity: z
          .string()
          .regex(/^(?:\/[A-Za-z0-9._-]{1,128}){1,16}$/, "must be a path such as /ns/shop/sa/menu")
          .optional()
          .describe("path of the SPIFFE id that a sidecar there proves; absent: plain text"),
      }),
    )
    .max(10_000),
  capacity: z
    .number()
    .positive()
    .optional()
    .describe("concurrent requests that one healthy endpoint can bear; absent: no limit"),
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
  name: z.string().superRefine((text, ctx) => {
    const name = parseClusterName(text);
    if (!name.ok) ctx.addIssue({ code: "custom", message: name.error });
  }),
  labels: z.record(z.string(), z.string()).optional(),
  annotations: z.record(z.string(), z.string()).default({}),
});

const apiVersions = {
  gateway: "gateway.networking.k8s.io/v1",
  mcs: "multicluster.x-k8s.io/v1alpha1",
  own: "espalier.dev/v1alpha1",
} as const;

/** A schema per kind, by `apiVersion/kind`. */
export const KINDS = {
  [`${apiVersions.gateway}/Gateway`]: resource(metadata, gatewaySpec),
  [`${apiVersions.gateway}/HTTPRoute`]: resource(metadata, routeSpec),
  [`${apiVersions.mcs}/ServiceExport`]: z.strictObject({
    apiVersion: z.string(),
    kind: z.string(),
    metadata,
  }),
  [`${apiVersions.own}/Service`]: resource(metadata, serviceSpec),
  [`${apiVersions.own}/Cluster`]: resource(clusterMetadata, clusterSpec),
} as const satisfies Record<string, z.ZodType>;

function resource<M extends z.ZodType, S extends z.ZodType>(meta: M, spec: S) {
  return z.strictObject({ apiVersion: z.string(), kind: z.string(), metadata: meta, spec });
}

export type GatewaySpec = z.infer<typeof gatewaySpec>;
export type ServiceSpec = z.infer<typeof serviceSpec>;
export type ClusterSpec = z.infer<typeof clusterSpec>;
