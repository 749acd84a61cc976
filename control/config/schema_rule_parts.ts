import { z } from "zod";
import { duration, headerName, hostname, label, pattern, port } from "#control/config/scalars.ts";

/* What HTTPRoute and GRPCRoute of Gateway API have in common, and what other routes share with them. */

/** Names a Gateway, or some of its listeners. */
const parentRef = z.strictObject({
  group: z.literal("gateway.networking.k8s.io").optional(),
  kind: z.literal("Gateway").optional(),
  name: label,
  namespace: label.optional(),
  sectionName: label.optional().describe("only this listener of the Gateway"),
  port: port.optional().describe("only the Gateway's listeners at this port"),
});

export type ParentRef = z.infer<typeof parentRef>;

/** Where a route is attached. */
export const parentRefs = z.array(parentRef).min(1).max(32);

/** Names a Service. */
export const serviceRef = {
  group: z.enum(["", "espalier.dev"]).optional(),
  kind: z.literal("Service").optional(),
  name: label,
  namespace: label.optional(),
  port,
};
/** Share among the backends of a rule. */
export const weight = z.int().min(0).max(1_000_000).default(1);

/** A backend that gets what comes as it is. */
export const serviceBackendRef = z.strictObject({ ...serviceRef, weight });

/** A name and what its value must be. */
export function valueMatch<N extends z.ZodType>(name: N) {
  return z.discriminatedUnion("type", [
    z.strictObject({ type: z.literal("Exact"), name, value: z.string().max(4_096) }),
    z.strictObject({ type: z.literal("RegularExpression"), name, value: pattern }),
  ]);
}

/** Gateway API leaves `type` out for the usual one. */
export function typed<T extends z.ZodType>(schema: T, usual: string) {
  return z.preprocess(
    (value) =>
      typeof value === "object" && value !== null && !Array.isArray(value)
        ? { type: usual, ...value }
        : value,
    schema,
  );
}

/** Names of headers and what their values must be. */
export const headerMatches = z
  .array(typed(valueMatch(headerName), "Exact"))
  .max(16)
  .default([]);

/** Of a whole request, and of one try. */
export const timeouts = z
  .strictObject({ request: duration.optional(), backendRequest: duration.optional() })
  .default({});

/** Keeps a client's requests at one endpoint (GEP-1619). */
export const sessionPersistence = z
  .strictObject({
    sessionName: z
      .string()
      .max(128)
      .regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/, "must be a cookie or header name")
      .optional(),
    type: z.enum(["Cookie", "Header"]).default("Cookie"),
    absoluteTimeout: duration.optional(),
    idleTimeout: duration.optional(),
    cookieConfig: z
      .strictObject({ lifetimeType: z.enum(["Permanent", "Session"]).default("Session") })
      .optional(),
  })
  .refine((s) => s.cookieConfig === undefined || s.type === "Cookie", {
    path: ["cookieConfig"],
    message: "is for cookies",
  })
  .refine((s) => s.cookieConfig?.lifetimeType !== "Permanent" || s.absoluteTimeout !== undefined, {
    path: ["absoluteTimeout"],
    message: "a permanent cookie needs one",
  });

/** Something wrong with a value, at a path within it. */
export interface Flaw {
  readonly path: PropertyKey[];
  readonly message: string;
}

/** Makes issues of flaws. */
export function tellAll(ctx: z.RefinementCtx, flaws: readonly Flaw[]): void {
  for (const { path, message } of flaws) ctx.addIssue({ code: "custom", path, message });
}

const MATCHES_MAX = 128;

/** As much of a rule as all rules of a route are judged by. */
interface NamedRule {
  readonly name?: string | undefined;
  readonly matches: readonly unknown[];
}

/** The `spec` of a route whose rules are these. */
export function routeSpecOf<R extends z.ZodType<NamedRule>>(rule: R) {
  return z.strictObject({
    parentRefs,
    hostnames: z.array(hostname).max(16).default([]),
    rules: z
      .array(rule)
      .min(1)
      .max(16)
      .superRefine((rules, ctx) => tellAll(ctx, rulesFlaws(rules))),
  });
}

/** What Gateway API asks of the rules of one route together. */
function rulesFlaws(rules: readonly NamedRule[]): Flaw[] {
  const flaws: Flaw[] = [];
  const names = new Set<string>();
  let matches = 0;
  rules.forEach((rule, i) => {
    matches += rule.matches.length;
    if (rule.name === undefined) return;
    if (names.has(rule.name)) flaws.push({ path: [i, "name"], message: `"${rule.name}" is taken` });
    names.add(rule.name);
  });
  if (matches > MATCHES_MAX) {
    flaws.push({ path: [], message: `${matches} matches; a route may have ${MATCHES_MAX}` });
  }
  return flaws;
}
