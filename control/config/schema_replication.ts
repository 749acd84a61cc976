import { z } from "zod";
import { duration } from "#control/config/scalars.ts";
import { clusterName } from "#control/config/schema_traffic_policy.ts";
import { EPOCH_MAX, REPLICAS_MAX } from "#model/traffic_policy.ts";

/** Where the data of a service is written and read. */
export const replicationSpec = z
  .strictObject({
    primary: clusterName.describe("takes the writes; one of the replicas"),
    epoch: z
      .int()
      .min(0)
      .max(EPOCH_MAX)
      .describe("higher whenever the primary moves: the highest one in the mesh holds"),
    replicas: z.array(clusterName).min(1).max(REPLICAS_MAX).describe("clusters that serve reads"),
    maxStaleness: duration.describe("how old what a read gets may be"),
  })
  .superRefine(({ primary, replicas }, ctx) => {
    replicas.forEach((cluster, i) => {
      if (replicas.indexOf(cluster) === i) return;
      const message = `${cluster} is named twice`;
      ctx.addIssue({ code: "custom", path: ["replicas", i], message });
    });
    if (replicas.includes(primary)) return;
    const message = `${primary} is not among the replicas`;
    ctx.addIssue({ code: "custom", path: ["primary"], message });
  });
export type ReplicationSpec = z.infer<typeof replicationSpec>;
