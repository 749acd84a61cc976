import { z } from "zod";
import { keySourceSchema, limitIdentity, trafficPolicySchema } from "#model/traffic_policy.ts";

/*
 * What a cluster orders itself and every cluster below it. Orders travel down the tree; a child hears its
 * parent's, which are the parent's own and those that it has heard itself.
 */

/** Names of clusters and services are judged by who follows an order, with all the others at hand. */
const name = z.string().min(1).max(512);

export const orderSchema = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("policy"),
    /** The cluster where it was written. */
    from: name,
    /** `namespace/name` of the TrafficPolicy. */
    name,
    /** Absent: every service. */
    service: name.optional(),
    policy: trafficPolicySchema,
  }),
  /** The cluster, and all below it, gets no new requests. */
  z.strictObject({ kind: z.literal("drain"), from: name, cluster: name }),
  /** New requests of the service go to that cluster while it can serve. */
  z.strictObject({ kind: z.literal("pin"), from: name, service: name, cluster: name }),
  /** This child's part of a mesh-wide rate limit of `from`: requests per second, its own subtree included. */
  z.strictObject({
    kind: z.literal("lease"),
    from: name,
    service: name,
    /** Name of the limit, and whom it counts by: as in `RateLimit`. */
    limit: name,
    by: keySourceSchema.optional(),
    rate: z.number().min(0),
  }),
]);
export type Order = z.infer<typeof orderSchema>;

/** One order of a kind, of a cluster, about the same thing: a new one takes its place. */
export function orderKey(order: Order): string {
  const { kind, from } = order;
  if (kind === "policy") return `${kind}/${from}/${order.name}`;
  if (kind === "drain") return `${kind}/${from}/${order.cluster}`;
  if (kind === "pin") return `${kind}/${from}/${order.service}`;
  return `${kind}/${from}/${order.service}/${limitIdentity({ name: order.limit, by: order.by })}`;
}

/** The kind that the key of an order says; "" for what is none's. */
export function orderKindOf(key: string): Order["kind"] | "" {
  const kind = key.slice(0, key.indexOf("/"));
  return KINDS.find((one) => one === kind) ?? "";
}

const KINDS = ["policy", "drain", "pin", "lease"] as const;
