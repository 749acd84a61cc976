import { z } from "zod";
import { isLabel, parseClusterName, parseMeshName } from "#model/names.ts";

/*
 * The resources that we read, each with what we honour of it. A field that is not here is refused with
 * its place: an option that does nothing would be a lie.
 */

const label = z.string().refine(isLabel, "must be a DNS label: a-z, 0-9 and inner hyphens");
const port = z.int().min(1).max(65_535);
const hostname = z
  .string()
  .max(253)
  .regex(
    /^(?:\*\.)?[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/,
    "must be a lower-case host name, possibly with *. in front",
  );

/** `host:port`, the host an IP address or a name; IPv6 in brackets. */
const hostPort = z
  .string()
  .regex(/^(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):\d{1,5}$/, "must be host:port")
  .transform(splitHostPort)
  .refine(({ port: number }) => number <= 65_535, "port is above 65535");
/** An address and a port; 0 where the system may choose. */
export interface HostPort {
  readonly address: string;
  readonly port: number;
}

export function splitHostPort(text: string): HostPort {
  const at = text.lastIndexOf(":");
  return { address: text.slice(0, at).replace(/^\[|\]$/g, ""), port: Number(text.slice(at + 1)) };
}

/** Gateway API GEP-2257: `1500ms`, `10s`, `1m30s`. In ms. */
const duration = z
  .string()
  .regex(/^(?:\d{1,5}(?:h|ms|m|s)){1,4}$/, 'must be a duration such as "1500ms" or "1m30s"')
  .transform((text) => {
    const unit = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1 } as const;
    let ms = 0;
    for (const [, count, name] of text.matchAll(/(\d+)(h|ms|m|s)/g)) {
      ms += Number(count) * unit[name as keyof typeof unit];
    }
    return ms;
  });

const metadata = z.strictObject({
  name: label,
  namespace: label.default("default"),
  labels: z.record(z.string(), z.string()).optional(),
  annotations: z.record(z.string(), z.string()).default({}),
});

const gatewaySpec = z.strictObject({
  gatewayClassName: z.literal("espalier"),
  listeners: z
    .array(
      z.strictObject({
        name: label,
        port: z.int().min(0).max(65_535).describe("0: chosen by the system"),
        protocol: z.literal("HTTP", "only HTTP is supported yet"),
        hostname: hostname.optional(),
      }),
    )
    .min(1),
});

const parentRef = z.strictObject({
  group: z.literal("gateway.networking.k8s.io").optional(),
  kind: z.literal("Gateway").optional(),
  name: label,
  namespace: label.optional(),
  sectionName: label.optional().describe("only this listener of the Gateway"),
});

const backendRef = z.strictObject({
  group: z.enum(["", "espalier.dev"]).optional(),
  kind: z.literal("Service").optional(),
  name: label,
  namespace: label.optional(),
  port,
  weight: z.int().min(0).max(1_000_000).default(1),
});

const path = z.strictObject({
  type: z.enum(["Exact", "PathPrefix"]).default("PathPrefix"),
  value: z.string().startsWith("/").max(1_024).default("/"),
});

const routeSpec = z.strictObject({
  parentRefs: z.array(parentRef).min(1).max(32),
  hostnames: z.array(hostname).max(16).default([]),
  rules: z
    .array(
      z.strictObject({
        matches: z
          .array(z.strictObject({ path: path.prefault({}) }))
          .max(64)
          .default([]),
        backendRefs: z.array(backendRef).max(16).default([]),
        timeouts: z
          .strictObject({ request: duration.optional(), backendRequest: duration.optional() })
          .default({}),
      }),
    )
    .min(1)
    .max(16),
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
export type RouteSpec = z.infer<typeof routeSpec>;
export type ServiceSpec = z.infer<typeof serviceSpec>;
export type ClusterSpec = z.infer<typeof clusterSpec>;
export type Metadata = z.infer<typeof metadata>;
