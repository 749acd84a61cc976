import type { Millis } from "#kernel/brand.ts";
import type { ConnectionRules } from "#model/snapshot.ts";

/** How many connections to one endpoint there are, and for how long. Per process. */
export interface ConnectionPolicy {
  readonly connectionsMax: number;
  /** They speak HTTP/2, and carry many requests at a time. */
  readonly http2: boolean;
  /** Requests that wait for a connection; one more fails at once. */
  readonly pendingMax: number;
  readonly pendingTimeoutMs: Millis;
  /** To an open connection, TLS included. */
  readonly connectTimeoutMs: Millis;
  readonly idleTimeoutMs: Millis;
  /** Infinity: no end. */
  readonly lifetimeMs: Millis;
  /** Requests that one connection carries; Infinity: no end. */
  readonly requestsMax: number;
}

/** The policy in force where nothing else is said. */
export const CONNECTION_POLICY: ConnectionPolicy = {
  // Both as Envoy has them.
  connectionsMax: 1_024,
  http2: false,
  pendingMax: 1_024,
  // Long enough for a burst to pass, and short enough to try elsewhere after it.
  pendingTimeoutMs: 1_000,
  connectTimeoutMs: 1_000,
  // Below the idle time-outs that servers commonly have, so that they seldom close under a request.
  idleTimeoutMs: 30_000,
  // As nginx: what stands behind a name or a balancer is found anew now and then.
  lifetimeMs: 3_600_000,
  requestsMax: Number.POSITIVE_INFINITY,
};

/** The same for proxies of the mesh, and for whatever else speaks HTTP/2. */
export const MESH_POLICY: ConnectionPolicy = { ...CONNECTION_POLICY, http2: true };

/** The policy of a service's endpoints. */
export function policyOf(rules: ConnectionRules | undefined, http2 = false): ConnectionPolicy {
  const usual = http2 ? MESH_POLICY : CONNECTION_POLICY;
  if (rules === undefined) return usual;
  return {
    http2,
    connectionsMax: rules.max ?? usual.connectionsMax,
    pendingMax: rules.pending ?? usual.pendingMax,
    pendingTimeoutMs: rules.pendingTimeoutMs ?? usual.pendingTimeoutMs,
    connectTimeoutMs: rules.connectTimeoutMs ?? usual.connectTimeoutMs,
    idleTimeoutMs: rules.idleTimeoutMs ?? usual.idleTimeoutMs,
    lifetimeMs: orNoEnd(rules.lifetimeMs ?? usual.lifetimeMs),
    requestsMax: orNoEnd(rules.requests ?? usual.requestsMax),
  };
}

/** For an endpoint that two services name: the lesser of each limit, and HTTP/2 if one of them says so. */
export function strictest(a: ConnectionPolicy, b: ConnectionPolicy): ConnectionPolicy {
  if (a === b) return a;
  return {
    http2: a.http2 || b.http2,
    connectionsMax: Math.min(a.connectionsMax, b.connectionsMax),
    pendingMax: Math.min(a.pendingMax, b.pendingMax),
    pendingTimeoutMs: Math.min(a.pendingTimeoutMs, b.pendingTimeoutMs),
    connectTimeoutMs: Math.min(a.connectTimeoutMs, b.connectTimeoutMs),
    idleTimeoutMs: Math.min(a.idleTimeoutMs, b.idleTimeoutMs),
    lifetimeMs: Math.min(a.lifetimeMs, b.lifetimeMs),
    requestsMax: Math.min(a.requestsMax, b.requestsMax),
  };
}

function orNoEnd(limit: number): number {
  return limit === 0 ? Number.POSITIVE_INFINITY : limit;
}
