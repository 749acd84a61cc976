import { z } from "zod";
import { err, ok, type Problem, type Result } from "#kernel/result.ts";
import { ALPN_PROTOCOLS, APP_PROTOCOLS } from "#model/app_protocol.ts";
import { callOf } from "#model/call.ts";
import { healthCheckSchema } from "#model/health_check.ts";
import type { ClusterName, MeshName, ServiceName } from "#model/names.ts";
import { parseClusterName, parseMeshName, parseServiceName } from "#model/names.ts";
import { parsePattern } from "#model/pattern.ts";
import { problemsOf } from "#model/problems.ts";
import { replicationSchema, trafficPolicySchema } from "#model/traffic_policy.ts";

/*
 * What a proxy needs to know, whole and immutable. The same value comes from a static file, from a
 * control service's stream and from the last good copy on disk.
 */

const clusterName = z.string().transform((text, ctx) => branded(parseClusterName(text), ctx));
const meshName = z.string().transform((text, ctx) => branded(parseMeshName(text), ctx));
const serviceName = z.string().transform((text, ctx) => branded(parseServiceName(text), ctx));
const port = z.int().min(0).max(65_535);
const positivePort = z.int().min(1).max(65_535);

/** One address that serves a service. */
const endpoint = z.strictObject({
  /** IP address or DNS name. */
  address: z.string().min(1),
  port: positivePort,
  /** Relative share of traffic among equals; 1 = normal. */
  weight: z.number().positive().default(1),
  /**
   * SPIFFE id the endpoint must prove by mTLS; absent: plain text or the service's `tls` (an endpoint beside us),
   * which is never allowed for a gateway of another cluster.
   */
  identity: z.string().optional(),
  /** Failure domain inside the cluster; absent: not told. */
  zone: z.string().optional(),
});
/** `tls`: what a proxy has put there of its service's; no snapshot says it. */
export type Endpoint = z.infer<typeof endpoint> & { readonly tls?: ServiceTls };

/**
 * A place where a service can be reached from here. Its endpoints are the service's own
 * for `local`, and the gateways of `cluster` for every other kind.
 */
const locale = z.strictObject({
  kind: z.enum(["local", "child", "sibling", "parent", "gateway"]),
  /** The cluster whose endpoints or gateways these are. */
  cluster: clusterName,
  endpoints: z.array(endpoint),
  /** Endpoints behind this locale that its owner calls healthy. */
  healthy: z.int().min(0),
  /** Concurrent requests it can bear, as declared by its owners; absent: not known, no limit. */
  capacity: z.number().positive().optional(),
  /** Concurrent requests that the receiving cluster lets this one send there; absent: no limit of its own. */
  grant: z.number().min(0).optional(),
  /** An operator has taken it out: no new request goes there. */
  drained: z.boolean().optional(),
  /** Of a replica: how old its data is at most, as it reports; absent: it does not say. */
  stalenessMs: z.number().min(0).optional(),
  /** The owner's own median response time for the service, ms; absent: none measured yet. */
  p50Ms: z.number().min(0).optional(),
  /** Price of leaving for this locale, added to its cost, ms. */
  egressMs: z.number().min(0).default(0),
  /** Age class of the fact; an expired one is not in the snapshot. */
  freshness: z.enum(["fresh", "stale", "suspect"]).default("fresh"),
});
export type Locale = z.infer<typeof locale>;
export type Freshness = Locale["freshness"];

const positive = z.int().positive();

/** Connections to one endpoint, per process; what is absent is as `proxy/upstream/connection_policy.ts` says. */
const connectionRules = z.strictObject({
  max: positive.optional(),
  /** Requests that may wait for one; one more fails at once. */
  pending: z.int().min(0).optional(),
  pendingTimeoutMs: positive.optional(),
  connectTimeoutMs: positive.optional(),
  idleTimeoutMs: positive.optional(),
  /** 0: no end. */
  lifetimeMs: z.int().min(0).optional(),
  /** Requests that one connection carries; 0: no end. */
  requests: z.int().min(0).optional(),
});
export type ConnectionRules = z.infer<typeof connectionRules>;

const subjectAltName = z.strictObject({
  type: z.enum(["Hostname", "URI"]),
  value: z.string().min(1),
});

/** How endpoints that speak TLS and are no part of the mesh prove who they are. */
const serviceTls = z.strictObject({
  /** Asked for (SNI), and to be in the certificate; absent: each endpoint's own address, a DNS name then. */
  serverName: z
    .string()
    .max(253)
    .regex(/^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/)
    .optional(),
  /** PEM of those who may have signed it; `system`: whom the machine trusts. */
  ca: z.union([z.literal("system"), z.string().includes("-----BEGIN CERTIFICATE-----")]),
  /** One of them has to be in the certificate, in place of the name that was asked for; empty: that one. */
  subjectAltNames: z.array(subjectAltName).default([]),
  /** Offered to them, the preferred one first. */
  alpn: z.array(z.enum(ALPN_PROTOCOLS)).min(1),
});
export type ServiceTls = z.infer<typeof serviceTls>;

/** For operators: a policy that says something of a service. */
const policyOrigin = z.strictObject({
  /** Where it was written. */
  cluster: z.string(),
  /** `namespace/name`, or what else it is. */
  policy: z.string(),
  /** What of it holds: `limits.requests`, `rateLimits.NAME`. */
  fields: z.array(z.string()),
  /** What does not, and why. */
  refused: z.array(z.string()),
});
export type PolicyOrigin = z.infer<typeof policyOrigin>;

const service = z.strictObject({
  name: serviceName,
  port: positivePort,
  appProtocol: z.enum(APP_PROTOCOLS),
  /** Of its own endpoints; absent: they speak plain text, or prove an identity of the mesh. */
  tls: serviceTls.optional(),
  /** Tells the endpoints of a `tcp` service who the client is (PROXY protocol). */
  proxyProtocol: z.enum(["v1", "v2"]).optional(),
  /** False: requests that come from other clusters do not reach the local endpoints. */
  exported: z.boolean().default(true),
  /** Of its own endpoints; the way to other clusters has the defaults. */
  connections: connectionRules.optional(),
  /** Of its own endpoints; absent: they are judged by requests alone. */
  healthCheck: healthCheckSchema.optional(),
  /** All levels of the tree merged; absent: the defaults. */
  policy: trafficPolicySchema.optional(),
  /** Where that comes from; absent: as `policy`. */
  policyOrigins: z.array(policyOrigin).optional(),
  /** Absent: every place serves every request alike. */
  replication: replicationSchema.optional(),
  locales: z.array(locale),
});
export type Service = z.infer<typeof service>;

const header = z.strictObject({ name: z.string(), value: z.string() });
/** Names in lower case. `set` replaces, `add` appends, `remove` goes first. */
const headerEdits = z.strictObject({
  set: z.array(header).default([]),
  add: z.array(header).default([]),
  remove: z.array(z.string()).default([]),
});
export type HeaderEdits = z.infer<typeof headerEdits>;

const pathEdit = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("ReplaceFullPath"), value: z.string() }),
  z.strictObject({ type: z.literal("ReplacePrefixMatch"), value: z.string() }),
]);
export type PathEdit = z.infer<typeof pathEdit>;

const redirect = z.strictObject({
  scheme: z.enum(["http", "https"]).optional(),
  hostname: z.string().optional(),
  path: pathEdit.optional(),
  port: positivePort.optional(),
  status: z.int().min(301).max(308),
});
export type Redirect = z.infer<typeof redirect>;

const rewrite = z.strictObject({ hostname: z.string().optional(), path: pathEdit.optional() });
export type Rewrite = z.infer<typeof rewrite>;

const cors = z.strictObject({
  /** Origins: exact, with one `*` for any labels, or `*`. */
  allowOrigins: z.array(z.string()),
  allowCredentials: z.boolean(),
  allowMethods: z.array(z.string()),
  allowHeaders: z.array(z.string()),
  exposeHeaders: z.array(z.string()),
  /** How long a browser may keep the answer to its preflight, seconds. */
  maxAge: z.int().min(0),
});
export type Cors = z.infer<typeof cors>;

/** Requests that are sent to a second service as well, whose answers nobody sees. */
const mirror = z.strictObject({
  service: serviceName,
  /** Share of the requests, 0 to 1. */
  share: z.number().min(0).max(1),
});
export type Mirror = z.infer<typeof mirror>;

/** What happens to a request, and to its answer, besides being passed on. */
const filters = z.strictObject({
  request: headerEdits.optional(),
  answer: headerEdits.optional(),
  redirect: redirect.optional(),
  rewrite: rewrite.optional(),
  cors: cors.optional(),
  mirrors: z.array(mirror).default([]),
});
export type Filters = z.infer<typeof filters>;

const backend = z.strictObject({
  service: serviceName,
  /** Share among the rule's backends; 0 = none. */
  weight: z.int().min(0).max(1_000_000).default(1),
  /** Done to requests that go to this backend. */
  request: headerEdits.optional(),
  answer: headerEdits.optional(),
});

const regularExpression = z.string().refine((text) => parsePattern(text).ok);

const valueMatch = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("Exact"), name: z.string(), value: z.string() }),
  z.strictObject({
    type: z.literal("RegularExpression"),
    name: z.string(),
    value: regularExpression,
  }),
]);
export type ValueMatch = z.infer<typeof valueMatch>;

const pathMatch = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("Exact"), value: z.string().startsWith("/") }),
  z.strictObject({ type: z.literal("PathPrefix"), value: z.string().startsWith("/") }),
  z.strictObject({ type: z.literal("RegularExpression"), value: regularExpression }),
]);
export type PathMatch = z.infer<typeof pathMatch>;

/** All that it says must hold. */
const requestMatch = z
  .strictObject({
    path: pathMatch,
    method: z.string().optional(),
    /** Names in lower case. */
    headers: z.array(valueMatch).default([]),
    queries: z.array(valueMatch).default([]),
    /** Calls of gRPC and gRPC-Web alone: a POST with a content type of theirs. */
    grpc: z.boolean().default(false),
  })
  .refine(({ path, grpc }) => !grpc || callOf(path) !== undefined, {
    path: ["path"],
    message: "is no path of calls",
  });
export type RequestMatch = z.infer<typeof requestMatch>;

const retry = z.strictObject({
  /** Statuses that are tried again, with methods that allow it; empty: 502, 503, 504. */
  statuses: z.array(z.int().min(400).max(599)).default([]),
  /** Statuses of gRPC (1 to 16) that are tried again; empty: none is looked at. */
  grpcStatuses: z.array(z.int().min(1).max(16)).default([]),
  /** Retries of one request; absent: 3. */
  attempts: z.int().min(0).max(10).optional(),
  /** Wait before each retry. */
  backoffMs: z.number().min(0).optional(),
});

/** Keeps a client's requests at one endpoint (Gateway API GEP-1619). */
const persistence = z.strictObject({
  type: z.enum(["Cookie", "Header"]),
  /** Of the cookie or the header; a header's in lower case. */
  name: z.string(),
  /** The cookie outlives the browser's session. */
  permanent: z.boolean(),
  /** A session ends that long after it began; absent: it does not. */
  absoluteTimeoutMs: z.number().positive().optional(),
  /** A session ends that long after its last request; absent: it does not. */
  idleTimeoutMs: z.number().positive().optional(),
});
export type Persistence = z.infer<typeof persistence>;

const routeRule = z.strictObject({
  /** Any one of them is enough. */
  matches: z.array(requestMatch).min(1),
  filters: filters.optional(),
  backends: z.array(backend),
  /**
   * Whole request, from its head to the last byte of the answer; 0: none. Absent: 15 s to the head of
   * the answer, so that long downloads are not cut.
   */
  requestTimeoutMs: z.number().min(0).optional(),
  /** One try at one endpoint, to the head of its answer; absent or 0: only the whole counts. */
  backendTimeoutMs: z.number().min(0).optional(),
  retry: retry.optional(),
  persistence: persistence.optional(),
});
export type RouteRule = z.infer<typeof routeRule>;

const route = z.strictObject({
  name: z.string(),
  /** Names of the listeners that it is attached to. */
  listeners: z.array(z.string()),
  /** Lower-case, possibly `*.example.org`; empty: every host. */
  hostnames: z.array(z.string()),
  rules: z.array(routeRule),
});
export type Route = z.infer<typeof route>;

/** Connections that go whole to one service: TCPRoute, and TLSRoute by the name in the ClientHello. */
const streamRoute = z.strictObject({
  name: z.string(),
  listeners: z.array(z.string()),
  /** Server names, as a route's hosts; empty: every one, and none. */
  hostnames: z.array(z.string()),
  backends: z.array(z.strictObject({ service: serviceName, weight: z.int().min(0) })),
});
export type StreamRoute = z.infer<typeof streamRoute>;

/** A chain and its key: as PEM, or as files that the proxy reads and watches. */
const certificate = z.discriminatedUnion("from", [
  z.strictObject({
    from: z.literal("pem"),
    name: z.string(),
    certificate: z.string(),
    key: z.string(),
  }),
  z.strictObject({
    from: z.literal("file"),
    name: z.string(),
    certificate: z.string(),
    key: z.string(),
    /** DER of an OCSP answer to be stapled. */
    ocsp: z.string().optional(),
  }),
]);
export type Certificate = z.infer<typeof certificate>;

/** How a listener treats its clients; what is absent is as `proxy/exchange/limits.ts` says. */
const clientRules = z.strictObject({
  headBytesMax: positive.optional(),
  fieldsMax: positive.optional(),
  targetBytesMax: positive.optional(),
  connectionsMax: positive.optional(),
  headTimeoutMs: positive.optional(),
  idleTimeoutMs: positive.optional(),
  bodyTimeoutMs: positive.optional(),
  streamIdleMs: positive.optional(),
  /** Peers that begin with a PROXY protocol header, as CIDR blocks. Empty: nobody may. */
  proxyProtocolFrom: z.array(z.string()).default([]),
  /** Peers whose `X-Forwarded-*` and `X-Request-Id` are believed, as CIDR blocks. */
  trustedForwarders: z.array(z.string()).default([]),
  /** Writes RFC 7239 `Forwarded` as well. */
  forwarded: z.boolean().default(false),
  /** Share of requests that is logged, 0 to 1; failures are always. Absent: no access log. */
  accessLogShare: z.number().min(0).max(1).optional(),
  /** Clients that may ask which way their requests go, as CIDR blocks. */
  debugFrom: z.array(z.string()).default([]),
});
export type ClientRules = z.infer<typeof clientRules>;

const listener = z.strictObject({
  name: z.string(),
  address: z.string(),
  /** 0: chosen by the system. Listeners of one port share it: they differ by their hostnames. */
  port,
  /**
   * `HTTP`, `HTTPS`: clients, matched against the routes and the mesh's own addresses.
   * `TCP`, `TLS`: connections that go whole to a service, by port alone or by server name.
   * `MESH`: mTLS from gateways and this cluster's proxies.
   */
  protocol: z.enum(["HTTP", "HTTPS", "TLS", "TCP", "MESH"]),
  /** Hosts it answers for (Gateway API `hostname`); absent: all. */
  hostname: z.string().optional(),
  /** Of `HTTPS`, the usual one first. */
  certificates: z.array(certificate).default([]),
  tlsMinVersion: z.enum(["TLSv1.2", "TLSv1.3"]).optional(),
  rules: clientRules.optional(),
});
export type Listener = z.infer<typeof listener>;

const snapshot = z.strictObject({
  /** Changes whenever anything else in it does. */
  revision: z.string().min(1),
  mesh: meshName,
  /** The cluster that the proxy stands in. */
  cluster: clusterName,
  listeners: z.array(listener),
  routes: z.array(route),
  streamRoutes: z.array(streamRoute).default([]),
  services: z.array(service),
  /** By which the cluster's gateways seal sessions, 32 bytes in base64; absent: each proxy has its own. */
  sessionKey: z.base64().length(44).optional(),
});
export type Snapshot = z.infer<typeof snapshot>;

/** Reads a snapshot from outside (disk, stream). All problems at once. */
export function parseSnapshot(input: unknown, source: string): Result<Snapshot, Problem[]> {
  const parsed = snapshot.safeParse(input);
  return parsed.success ? ok(parsed.data) : err(problemsOf(parsed.error, source));
}

function branded<T extends MeshName | ClusterName | ServiceName>(
  parsed: Result<T, string>,
  ctx: z.RefinementCtx,
): T {
  if (parsed.ok) return parsed.value;
  ctx.addIssue({ code: "custom", message: parsed.error });
  return z.NEVER;
}
