import { z } from "zod";
import { duration } from "#control/config/scalars.ts";
import type { Service } from "#model/snapshot.ts";

/** Less would be a load of its own, more nobody means. */
const SHORTEST_MS = 100;
const LONGEST_MS = 3_600_000;

/** `200` or `"200-299"`. */
const statuses = z.union([z.int(), z.string()]).transform((said, ctx) => {
  const [, first, last = first] = /^(\d{3})(?:-(\d{3}))?$/.exec(String(said)) ?? [];
  const range = { from: Number(first), to: Number(last) };
  if (range.from >= 200 && range.from <= range.to && range.to <= 599) return range;
  const message = 'must be a status or a range such as "200-299", within 200 and 599';
  ctx.addIssue({ code: "custom", message });
  return z.NEVER;
});
const wait = duration.refine(
  (ms) => ms >= SHORTEST_MS && ms <= LONGEST_MS,
  "must be between 100ms and 1h",
);
const threshold = z.int().min(1).max(100);

/** How the endpoints of a service are asked whether they are well. */
export const healthCheckSpec = z
  .strictObject({
    grpc: z
      .strictObject({
        service: z
          .string()
          .max(256)
          .regex(/^[!-~]*$/, "must be the name of a gRPC service")
          .default("")
          .describe("that grpc.health.v1 is asked about; empty: the whole server"),
      })
      .optional(),
    http: z
      .strictObject({
        path: z
          .string()
          .max(4_096)
          .regex(/^\/[!"$-~]*$/, "must begin with / and be as it stands in a request, without #"),
        expectedStatuses: z.array(statuses).min(1).max(32).prefault(["200-299"]),
        host: z
          .string()
          .max(260)
          .regex(/^(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?$/, "must be a host in lower case")
          .optional()
          .describe("absent: the endpoint's address and port"),
      })
      .optional(),
    tcp: z.strictObject({}).optional().describe("a connection that comes about is enough"),
    interval: wait.prefault("10s"),
    timeout: wait.optional().describe("1s, or the interval if that is shorter"),
    unhealthyThreshold: threshold.default(2).describe("failures in a row"),
    healthyThreshold: threshold.default(2).describe("successes in a row"),
  })
  .superRefine(({ grpc, http, tcp, interval, timeout }, ctx) => {
    if ([grpc, http, tcp].filter((one) => one !== undefined).length !== 1) {
      ctx.addIssue({ code: "custom", path: [], message: "needs one of grpc, http and tcp" });
    }
    if (timeout !== undefined && timeout > interval) {
      const message = "must not be longer than the interval";
      ctx.addIssue({ code: "custom", path: ["timeout"], message });
    }
  });
export type HealthCheckSpec = z.infer<typeof healthCheckSpec>;

/** What endpoints that speak `appProtocol` cannot be asked, and where that stands in the spec of their Service. */
export function healthCheckProblem(
  spec: HealthCheckSpec | undefined,
  appProtocol: Service["appProtocol"] | undefined,
): { readonly path: string[]; readonly message: string } | undefined {
  if (spec?.grpc !== undefined && appProtocol !== "kubernetes.io/h2c") {
    const message = "needs appProtocol: kubernetes.io/h2c or grpc";
    return { path: ["healthCheck", "grpc"], message };
  }
  if (spec?.http === undefined || appProtocol !== "tcp") return undefined;
  return { path: ["healthCheck", "http"], message: "not for appProtocol: tcp; use tcp" };
}
