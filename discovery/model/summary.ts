import { z } from "zod";
import { APP_PROTOCOLS } from "#model/app_protocol.ts";
import { replicationSchema } from "#model/traffic_policy.ts";

/*
 * What clusters tell each other of a service: never its endpoints, always its sum.
 */

/**
 * Most that a summary says of endpoints, and of all else that is counted or measured (requests, their rate, ms).
 * Sums are held to it too: one child that claims too much must not make what its parent tells of others unreadable.
 */
export const ENDPOINTS_MAX = 1_000_000;
export const AMOUNT_MAX = 1e12;

const amount = z.number().min(0).max(AMOUNT_MAX);

/** Where a cluster's gateway is reached from outside, as that cluster advertises it. */
const gatewayAddress = z.strictObject({
  address: z.string().min(1).max(253),
  port: z.int().min(1).max(65_535),
});
export type GatewayAddress = z.infer<typeof gatewayAddress>;

/** One service of one cluster and of all clusters below it, as its owner sees it. */
export const summarySchema = z.strictObject({
  /** Gateways of the cluster that says it; traffic for the service enters there. */
  gateways: z.array(gatewayAddress).min(1).max(8),
  /** Healthy endpoints, all levels below included. */
  healthy: z.int().min(0).max(ENDPOINTS_MAX),
  /** All endpoints, healthy or not. */
  total: z.int().min(0).max(ENDPOINTS_MAX),
  /** Concurrent requests it can bear; absent: not declared. */
  capacity: amount.positive().optional(),
  /** Of `capacity`, what its own clients leave for others; absent: not told. */
  offer: amount.optional(),
  /** Concurrent requests that clients below bring with them, served there or elsewhere; absent: none seen. */
  demand: amount.optional(),
  /** Requests per second that clients below bring with them. */
  arrivals: amount.optional(),
  /** Of a replica, how old its data is at most, ms. */
  stalenessMs: amount.optional(),
  /** Where its data is written and read, by the highest epoch known there; absent: every place serves alike. */
  replication: replicationSchema.optional(),
  /** An operator has taken it out. */
  drained: z.literal(true).optional(),
  /** Median response time seen at that gateway, ms; absent: no traffic yet. */
  p50Ms: amount.optional(),
  port: z.int().min(1).max(65_535),
  appProtocol: z.enum(APP_PROTOCOLS),
});
export type Summary = z.infer<typeof summarySchema>;

/** An entry of the view that a parent computes for one child. */
export const viewEntrySchema = z.strictObject({
  /** `sibling`: another child of the same parent; `parent`: all the rest, through the parent. */
  kind: z.enum(["sibling", "parent"]),
  /** The cluster whose gateways these are. Stamped by the parent, never taken from a body below it. */
  cluster: z.string(),
  service: z.string(),
  summary: summarySchema,
  /** Concurrent requests that this child may send there; absent: no limit is known. */
  grant: amount.optional(),
  /** Age class at the parent; a follower's own lease can only make it older. */
  freshness: z.enum(["fresh", "stale", "suspect"]),
});
export type ViewEntry = z.infer<typeof viewEntrySchema>;

/** Key of a view entry: one fact per cluster and service. */
export function viewKey(cluster: string, service: string): string {
  return `${cluster}/${service}`;
}
