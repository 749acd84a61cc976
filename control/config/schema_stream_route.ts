import { z } from "zod";
import { hostname } from "#control/config/scalars.ts";
import { parentRefs, serviceBackendRef } from "#control/config/schema_rule_parts.ts";

/* TCPRoute and TLSRoute of Gateway API: connections that go whole to a service. */

const rules = z
  .array(z.strictObject({ backendRefs: z.array(serviceBackendRef).min(1).max(16) }))
  .length(1, "exactly one rule: nothing tells two apart");

export const tcpRouteSpec = z.strictObject({
  parentRefs,
  hostnames: z.array(hostname).max(0, "a TCP connection names no host").default([]),
  rules,
});

export const tlsRouteSpec = z.strictObject({
  parentRefs,
  hostnames: z.array(hostname).max(16).default([]),
  rules,
});
export type StreamRouteSpec = z.infer<typeof tlsRouteSpec>;
