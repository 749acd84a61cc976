import { z } from "zod";
import type { ClusterName } from "#model/names.ts";
import { parseClusterName } from "#model/names.ts";

/*
 * What is decided about the traffic of one service, as proxies follow it: all levels of the tree merged,
 * times in ms, shares 0 to 1. What is absent is as the part of the proxy says that follows it; the
 * defaults need no policy at all.
 */

const count = z.int().positive();
const ms = z.number().min(0);
const share = z.number().min(0).max(1);
const cluster = z.string().transform((text, ctx): ClusterName => {
  const parsed = parseClusterName(text);
  if (parsed.ok) return parsed.value;
  ctx.addIssue({ code: "custom", message: parsed.error });
  return z.NEVER;
});

/** What of a request tells one client from another. `Caller`: the workload that mTLS has proved, or its address. */
export const keySourceSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("Header"), name: z.string().min(1) }),
  z.strictObject({ type: z.literal("Cookie"), name: z.string().min(1) }),
  z.strictObject({ type: z.literal("QueryParameter"), name: z.string().min(1) }),
  z.strictObject({ type: z.literal("SourceAddress") }),
  z.strictObject({ type: z.literal("Caller") }),
]);
export type KeySource = z.infer<typeof keySourceSchema>;

/** Names of the ways to choose an endpoint inside a locale. */
export const ALGORITHMS = ["PeakEwma", "LeastRequest", "RoundRobin", "RingHash", "Maglev"] as const;

/** True if it chooses by a value of the request: it needs `hashOn`. */
export function isHash(algorithm: (typeof ALGORITHMS)[number] | undefined): boolean {
  return algorithm === "RingHash" || algorithm === "Maglev";
}

const balance = z.strictObject({
  algorithm: z.enum(ALGORITHMS).optional(),
  /** Of `RingHash` and `Maglev`; a request without it is spread as if it were alone. */
  hashOn: keySourceSchema.optional(),
  /** A new or recovered endpoint gets its full share only after that long; 0: at once. */
  slowStartMs: ms.optional(),
  /** Endpoints of a large pool that one worker uses; absent: all. */
  subsetSize: count.optional(),
  /** Below this share of well endpoints, where no other locale can help, all are used. */
  panicShare: share.optional(),
  /** Endpoints of the proxy's own zone first, as far as they can bear their part. */
  zoneAware: z.boolean().optional(),
});

/** How an endpoint is chosen inside a locale. */
export type BalancePolicy = z.infer<typeof balance>;

const rateOutliers = {
  /** Endpoints that must have had enough requests before they are compared. */
  minHosts: count.optional(),
  /** Requests of one endpoint in one interval that are enough. */
  minRequests: count.optional(),
};

const outliers = z.strictObject({
  /** Failures in a row that eject an endpoint; 0: none do. */
  consecutiveFailures: z.int().min(0).optional(),
  /** The first ejection; each that follows without a success between lasts twice as long. */
  ejectionMs: ms.positive().optional(),
  ejectionMaxMs: ms.positive().optional(),
  /** Of a locale's endpoints, out at once; one always may. */
  maxEjectedShare: share.optional(),
  /** How often endpoints are compared with each other. */
  intervalMs: ms.positive().optional(),
  /** Ejects whose success rate is that many standard deviations below the mean; 0: off. */
  successRate: z
    .strictObject({ stdevFactor: z.number().min(0).optional(), ...rateOutliers })
    .optional(),
  /** Ejects who fails that share of its requests; 0: off. */
  failureShare: z.strictObject({ threshold: share.optional(), ...rateOutliers }).optional(),
});

/** When an endpoint is taken out because of how requests went. */
export type OutlierPolicy = z.infer<typeof outliers>;

const limits = z.strictObject({
  /** Requests of the service that run at once in this cluster (a bulkhead); absent: as many as it bears. */
  requests: count.optional(),
  /** The same of one caller. */
  requestsPerCaller: count.optional(),
  /** Retries and hedges of the service that run at once in this cluster. */
  retries: count.optional(),
  /** False: the concurrency that endpoints and locales bear is not learnt, only what is declared counts. */
  adaptive: z.boolean().optional(),
});

const waterfall = z.strictObject({
  /** A locale overtakes another only if it is cheaper by this share … */
  deadBandShare: share.optional(),
  /** … and by this much. */
  deadBandMs: ms.optional(),
  /** How long an order stands before it may change again. */
  dwellMs: ms.optional(),
  /** Time in which all traffic may move from one locale to another. */
  rampMs: ms.positive().optional(),
});
export type WaterfallPolicy = z.infer<typeof waterfall>;

const retries = z.strictObject({
  /** Retries and hedges as a share of requests, over time. */
  budgetShare: share.optional(),
  /** Retries per second and worker on top, so that little traffic can be retried too. */
  budgetPerSecond: z.number().min(0).optional(),
});

const hedging = z.strictObject({
  /** A second try begins after this percentile of the response times seen; 0, of an order alone: none does. */
  percentile: z.union([z.literal(0), z.number().min(50).max(99.9)]),
  /** Never before that long. */
  minDelayMs: ms.optional(),
});

/** Classes of requests, the one that is shed last first. */
export const PRIORITIES = ["critical", "default", "sheddable"] as const;
/** How much it matters that a request is served when not all can be. */
export type Priority = (typeof PRIORITIES)[number];

const priority = z.strictObject({
  /** Of requests that say nothing else; absent: `default`. */
  class: z.enum(PRIORITIES).optional(),
  /** Header by which clients say it, in lower case; absent: they cannot. */
  header: z.string().min(1).optional(),
});

const rateLimit = z.strictObject({
  /** Unique in the service's policy; the name in metrics. */
  name: z.string().min(1),
  /** `Local`: each cluster has the rate for itself. `Mesh`: all clusters together, by leases down the tree. */
  scope: z.enum(["Local", "Mesh"]),
  /** Requests per second. */
  rate: z.number().positive(),
  /** Requests at once after a pause. */
  burst: count,
  /** Each client has the rate for itself; absent: all together. */
  by: keySourceSchema.optional(),
  /** Of `Mesh`: this cluster's part of `rate` now. Absent: not leased yet. */
  leased: z.number().min(0).optional(),
});

export type RateLimit = z.infer<typeof rateLimit>;

/**
 * What makes two rate limits of one author and service the same: `all`, or `all by Header x-user`. A limit of the same
 * name for other clients is another one.
 */
export function limitIdentity({ name, by }: Pick<RateLimit, "name" | "by">): string {
  if (by === undefined) return name;
  return `${name} by ${"name" in by ? `${by.type} ${by.name}` : by.type}`;
}

const places = z.strictObject({
  /** Requests are served inside this subtree or not at all. */
  mustStayIn: cluster.optional(),
  /** While this cluster can serve, it does. */
  pin: cluster.optional(),
  /** Shares of subtrees; what one cannot take, the others get. */
  split: z.array(z.strictObject({ cluster, weight: z.int().min(0).max(1_000_000) })).optional(),
});

export const trafficPolicySchema = z.strictObject({
  balance: balance.optional(),
  outliers: outliers.optional(),
  limits: limits.optional(),
  waterfall: waterfall.optional(),
  retries: retries.optional(),
  hedging: hedging.optional(),
  priority: priority.optional(),
  rateLimits: z.array(rateLimit).optional(),
  places: places.optional(),
});
export type TrafficPolicy = z.infer<typeof trafficPolicySchema>;

/**
 * Fences that exclude each other leave this: no cluster is within it, for no mesh has such a name (RFC 6761 §6.4).
 */
export const NOWHERE = "nowhere.invalid" as ClusterName;

/** The highest epoch that there is. */
export const EPOCH_MAX = 4_000_000_000;
/** Replicas that a service may have. */
export const REPLICAS_MAX = 1_000;

/** Where a service's data may be written and read. */
export const replicationSchema = z.strictObject({
  /** The cluster that takes writes. */
  primary: cluster,
  /** Grows whenever the primary moves: who knows an older one is refused. */
  epoch: z.int().min(0).max(EPOCH_MAX),
  /** Clusters that serve reads, the primary among them. */
  replicas: z.array(cluster).max(REPLICAS_MAX),
  /** How old what a read gets may be. */
  maxStalenessMs: ms,
});
export type Replication = z.infer<typeof replicationSchema>;
