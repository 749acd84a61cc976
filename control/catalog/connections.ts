import { compact } from "#control/compile/compact.ts";
import type { ConnectionsSpec } from "#control/config/schema_connections.ts";
import type { ConnectionRules } from "#model/snapshot.ts";

/** What a Service says of connections; undefined if it says nothing. */
export function compileConnections(spec: ConnectionsSpec | undefined): ConnectionRules | undefined {
  if (spec === undefined) return undefined;
  const { max, pending, pendingTimeout, connectTimeout, idleTimeout, lifetime, requests } = spec;
  return compact({
    max,
    pending,
    pendingTimeoutMs: pendingTimeout,
    connectTimeoutMs: connectTimeout,
    idleTimeoutMs: idleTimeout,
    lifetimeMs: lifetime,
    requests,
  });
}
