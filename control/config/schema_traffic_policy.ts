import { z } from "zod";
import { duration, headerName, label } from "#control/config/scalars.ts";
import { type Flaw, tellAll } from "#control/config/schema_rule_parts.ts";
import { isWithin, parseClusterName } from "#model/names.ts";
import { ALGORITHMS, isHash, PRIORITIES } from "#model/traffic_policy.ts";

/* TrafficPolicy: what is decided about the traffic of services. What is left out is as a level above says, or usual. */

const count = z.int().min(1).max(1_000_000_000);
const percent = z.number().min(0).max(100);
const wait = duration.refine((ms) => ms > 0, "must be more than nothing");

/** Name of a cluster anywhere in the mesh. */
export const clusterName = z.string().superRefine((text, ctx) => {
  const name = parseClusterName(text);
  if (!name.ok) ctx.addIssue({ code: "custom", message: name.error });
});

const keySource = z
  .discriminatedUnion("type", [
    z.strictObject({ type: z.literal("Header"), name: headerName }),
    z.strictObject({
      type: z.literal("Cookie"),
      name: z
        .string()
        .max(256)
        .regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/, "must be the name of a cookie"),
    }),
    z.strictObject({ type: z.literal("QueryParameter"), name: z.string().min(1).max(256) }),
    z.strictObject({ type: z.literal("SourceAddress") }),
    z.strictObject({ type: z.literal("Caller") }),
  ])
  .describe("Caller: the workload that mTLS has proved, or the client's address");

const balance = z
  .strictObject({
    algorithm: z.enum(ALGORITHMS).optional().describe("how an endpoint of a locale is chosen"),
    hashOn: keySource.optional().describe("of RingHash and Maglev: equal values, equal endpoint"),
    slowStart: duration.optional().describe("until a new endpoint has its full share; 0s: at once"),
    subsetSize: count.optional().describe("endpoints of a large pool that one worker uses"),
    panicPercent: percent.optional().describe("with fewer well endpoints all are used"),
    zoneAware: z.boolean().optional().describe("endpoints of the proxy's zone first"),
  })
  .superRefine(({ algorithm, hashOn }, ctx) => {
    if (isHash(algorithm) && hashOn === undefined) {
      const message = `${algorithm} needs hashOn: nothing tells requests apart`;
      ctx.addIssue({ code: "custom", path: ["algorithm"], message });
    }
    if (!isHash(algorithm) && hashOn !== undefined) {
      const message = "means nothing without algorithm: RingHash or Maglev";
      ctx.addIssue({ code: "custom", path: ["hashOn"], message });
    }
  });

const compared = {
  minHosts: count.optional().describe("endpoints with enough requests before any is compared"),
  minRequests: count.optional().describe("requests of one endpoint and interval that are enough"),
};

const outliers = z
  .strictObject({
    consecutiveFailures: z.int().min(0).max(1_000_000).optional().describe("in a row; 0: off"),
    ejection: wait.optional().describe("the first; each that follows lasts twice as long"),
    maxEjection: wait.optional().describe("no ejection lasts longer"),
    maxEjectedPercent: percent.optional().describe("of a locale's endpoints; one always may"),
    interval: wait.optional().describe("how often endpoints are compared"),
    successRate: z
      .strictObject({
        stdevFactor: z.number().min(0).max(100).optional().describe("below the mean; 0: off"),
        ...compared,
      })
      .optional(),
    failurePercentage: z
      .strictObject({
        threshold: percent.optional().describe("of its requests that fail; 0: off"),
        ...compared,
      })
      .optional(),
  })
  .refine(
    ({ ejection, maxEjection }) =>
      ejection === undefined || maxEjection === undefined || ejection <= maxEjection,
    { path: ["maxEjection"], message: "must not be shorter than ejection" },
  );

const limits = z.strictObject({
  requests: count.optional().describe("of the service, at once in a cluster"),
  requestsPerCaller: count.optional().describe("the same, of one caller"),
  retries: count.optional().describe("retries and hedges, at once in a cluster"),
  adaptive: z
    .boolean()
    .optional()
    .describe("false: only what is declared limits, nothing is learnt"),
});

const waterfall = z.strictObject({
  deadBandPercent: percent.optional().describe("a locale overtakes if it is cheaper by that …"),
  deadBand: duration.optional().describe("… and by that"),
  dwell: duration.optional().describe("how long an order stands before it may change"),
  ramp: wait.optional().describe("in which all traffic may move to another locale"),
});

const retries = z.strictObject({
  budgetPercent: percent.optional().describe("of requests, retries and hedges together"),
  budgetPerSecond: z.number().min(0).max(1_000_000).optional().describe("per worker, on top"),
});

const hedging = z.strictObject({
  percentile: z
    .number()
    .refine((value) => value === 0 || (value >= 50 && value <= 99.9), "must be 0, or 50 to 99.9")
    .describe("of response times, after which a second try begins; 0: none, whatever is inherited"),
  minDelay: duration.optional().describe("never before"),
});

const priority = z.strictObject({
  class: z.enum(PRIORITIES).optional().describe("of requests that say nothing else"),
  header: headerName.optional().describe("in which clients say it"),
});

const rateLimit = z.strictObject({
  name: label.describe("unique in the policy; the name in metrics, and by which levels are merged"),
  scope: z
    .enum(["Local", "Mesh"])
    .default("Local")
    .describe("Local: each cluster for itself; Mesh: all below the policy's cluster together"),
  requests: count.describe("in each `per`"),
  per: wait.prefault("1s"),
  burst: count.optional().describe("at once after a pause; absent: requests"),
  by: keySource.optional().describe("each client for itself; absent: all together"),
});

const places = z
  .strictObject({
    mustStayIn: clusterName.optional().describe("served in this subtree or not at all"),
    pin: clusterName.optional().describe("served there while it can"),
    split: z
      .array(
        z.strictObject({
          cluster: clusterName,
          weight: z.int().min(0, "must not be negative").max(1_000_000),
        }),
      )
      .min(1)
      .max(64)
      .optional()
      .describe("shares of subtrees"),
  })
  .superRefine((value, ctx) => tellAll(ctx, placesFlaws(value)));

/** What of `places` contradicts itself. */
function placesFlaws({ mustStayIn: fence, pin, split = [] }: PlacesLike): Flaw[] {
  const flaws: Flaw[] = [];
  const outside = (cluster: string): string => `${cluster} is outside of mustStayIn: ${fence}`;
  if (fence !== undefined && pin !== undefined && !isWithin(pin, fence)) {
    flaws.push({ path: ["pin"], message: outside(pin) });
  }
  split.forEach(({ cluster }, i) => {
    const path = ["split", i, "cluster"];
    if (fence !== undefined && !isWithin(cluster, fence)) {
      flaws.push({ path, message: outside(cluster) });
    }
    const other = split.find((one, at) => at < i && overlap(one.cluster, cluster));
    if (other?.cluster === cluster) flaws.push({ path, message: `${cluster} is named twice` });
    else if (other !== undefined) {
      flaws.push({ path, message: `${cluster} and ${other.cluster} lie within each other` });
    }
  });
  if (split.length > 0 && split.every(({ weight }) => weight === 0)) {
    flaws.push({ path: ["split"], message: "all weights are 0: nobody would be served" });
  }
  return flaws;
}

interface PlacesLike {
  readonly mustStayIn?: string | undefined;
  readonly pin?: string | undefined;
  readonly split?: ReadonlyArray<{ readonly cluster: string; readonly weight: number }> | undefined;
}

function overlap(a: string, b: string): boolean {
  return isWithin(a, b) || isWithin(b, a);
}

export const trafficPolicySpec = z.strictObject({
  targetRef: z
    .discriminatedUnion("kind", [
      z.strictObject({
        group: z.enum(["", "espalier.dev"]).optional(),
        kind: z.literal("Service"),
        name: label,
      }),
      z.strictObject({
        group: z.literal("espalier.dev").optional(),
        kind: z.literal("Cluster"),
        name: clusterName,
      }),
    ])
    .optional()
    .describe("a Service of its namespace, or the cluster it stands in; absent: every service"),
  balance: balance.optional(),
  outliers: outliers.optional(),
  limits: limits.optional(),
  waterfall: waterfall.optional(),
  retries: retries.optional(),
  hedging: hedging.optional(),
  priority: priority.optional(),
  rateLimits: z
    .array(rateLimit)
    .max(64)
    .superRefine((list, ctx) =>
      list.forEach(({ name }, i) => {
        if (list.findIndex((one) => one.name === name) === i) return;
        ctx.addIssue({ code: "custom", path: [i, "name"], message: `"${name}" is taken` });
      }),
    )
    .optional(),
  places: places.optional(),
});
export type TrafficPolicySpec = z.infer<typeof trafficPolicySpec>;
