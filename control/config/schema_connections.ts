import { z } from "zod";
import { duration } from "#control/config/scalars.ts";

const wait = duration.refine((ms) => ms > 0, "must be more than nothing").optional();

/** How proxies keep connections to each endpoint of a service. */
export const connectionsSpec = z.strictObject({
  max: z
    .int()
    .min(1)
    .max(1_000_000)
    .optional()
    .describe("open at once, per endpoint and worker; 1024"),
  pending: z
    .int()
    .min(0)
    .max(100_000)
    .optional()
    .describe("requests that wait for one when all are busy; one more fails at once; 1024"),
  pendingTimeout: wait.describe("after which a waiting request fails; 1s"),
  connectTimeout: wait.describe("to an open connection, TLS included; 1s"),
  idleTimeout: wait.describe("after which an unused one is closed; 30s"),
  lifetime: duration.optional().describe("after which none is used again, 0s: no end; 1h"),
  requests: z.int().min(0).max(4_000_000_000).optional().describe("that one carries, 0: no end; 0"),
});
export type ConnectionsSpec = z.infer<typeof connectionsSpec>;
