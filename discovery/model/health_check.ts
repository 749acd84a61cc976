import { z } from "zod";

const positive = z.int().positive();

/**
 * How the endpoints of a service in this cluster are asked whether they are well; one of `grpc`, `http` and `tcp`
 * is there. Gateways of other clusters are never asked so: `proxy/health/link_probe.ts` watches them.
 */
export const healthCheckSchema = z
  .strictObject({
    /** `grpc.health.v1.Health/Check`, of this service; empty: of the whole server. */
    grpc: z.strictObject({ service: z.string() }).optional(),
    /** A GET. */
    http: z
      .strictObject({
        path: z.string().startsWith("/"),
        /** The statuses that say "well"; both ends belong to each range. */
        statuses: z.array(z.strictObject({ from: positive, to: positive })).min(1),
        /** Absent: the endpoint's address and port. */
        host: z.string().optional(),
      })
      .optional(),
    /** A connection that comes about. */
    tcp: z.strictObject({}).optional(),
    /** From the beginning of one check of an endpoint to that of the next. */
    intervalMs: positive,
    /** To the end of the answer; no more than `intervalMs`. */
    timeoutMs: positive,
    /** Failures in a row after which it takes no more requests. */
    unhealthyThreshold: positive,
    /** Successes in a row after which it does again. The first check of an endpoint decides alone. */
    healthyThreshold: positive,
  })
  .refine(
    ({ grpc, http, tcp }) => [grpc, http, tcp].filter((one) => one !== undefined).length === 1,
    "exactly one of grpc, http and tcp",
  );
export type HealthCheck = z.infer<typeof healthCheckSchema>;
