import { z } from "zod";
import { duration, label, pattern } from "#control/config/scalars.ts";
import { backendFilters, callFilter, repeatedFilters } from "#control/config/schema_filters.ts";
import {
  type Flaw,
  headerMatches,
  routeSpecOf,
  serviceRef,
  sessionPersistence,
  tellAll,
  timeouts,
  typed,
  weight,
} from "#control/config/schema_rule_parts.ts";
import { callPath } from "#model/call.ts";
import { parsePattern } from "#model/pattern.ts";

/* GRPCRoute of Gateway API v1. */

/** Longest name or expression of a service or a method. */
const NAME_MAX = 1_024;

const exactService = z
  .string()
  .max(NAME_MAX)
  .regex(
    /^[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*$/,
    "must be the name of a service such as package.Service",
  );
const exactMethod = z
  .string()
  .max(NAME_MAX)
  .regex(/^[A-Za-z_]\w*$/, "must be the name of a method");
const servicePattern = pattern.refine((text) => !text.includes(")/("), "no service has a slash");

const method = z
  .discriminatedUnion("type", [
    z.strictObject({
      type: z.literal("Exact"),
      service: exactService.optional(),
      method: exactMethod.optional(),
    }),
    z.strictObject({
      type: z.literal("RegularExpression"),
      service: servicePattern.optional(),
      method: pattern.optional(),
    }),
  ])
  .superRefine((asked, ctx) => {
    const tell = (message: string): void => tellAll(ctx, [{ path: [], message }]);
    if (asked.service === undefined && asked.method === undefined) {
      tell("needs service, method, or both");
      return;
    }
    if (asked.type === "Exact") return;
    const both = parsePattern(callPath(asked).value);
    if (!both.ok) tell(`service and method together: ${both.error}`);
  });

const match = z.strictObject({
  method: typed(method, "Exact").optional(),
  headers: headerMatches.superRefine((headers, ctx) => {
    const names = headers.map(({ name }) => name);
    tellAll(ctx, repeated(names, "name"));
  }),
});

/** Statuses of gRPC (doc/statuscodes.md), at their numbers. */
const STATUSES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
];

const status = z.union([z.string(), z.number()]).transform((said, ctx) => {
  const number = typeof said === "string" ? STATUSES.indexOf(said) : said;
  if (Number.isInteger(number) && number >= 1 && number < STATUSES.length) return number;
  const message = "must be a status of gRPC such as UNAVAILABLE, or its number, 1 to 16";
  ctx.addIssue({ code: "custom", message });
  return z.NEVER;
});

const retry = z.strictObject({
  codes: z
    .array(status)
    .min(1, "needs a status")
    .max(16)
    .default([STATUSES.indexOf("UNAVAILABLE")]),
  attempts: z.int().min(0).max(10).optional(),
  backoff: duration.optional(),
});

const rule = z.strictObject({
  name: label.optional(),
  matches: z.array(match).max(64).default([]),
  filters: z
    .array(callFilter)
    .max(16)
    .superRefine((filters, ctx) => tellAll(ctx, repeatedFilters(filters)))
    .default([]),
  backendRefs: z
    .array(z.strictObject({ ...serviceRef, weight, filters: backendFilters }))
    .max(16)
    .default([]),
  timeouts,
  retry: retry.optional(),
  sessionPersistence: sessionPersistence.optional(),
});

export const grpcRouteSpec = routeSpecOf(rule);
export type GrpcRouteSpec = z.infer<typeof grpcRouteSpec>;

function repeated(names: readonly string[], field: string): Flaw[] {
  return names.flatMap((name, i) =>
    names.indexOf(name) === i ? [] : [{ path: [i, field], message: `a second ${name}` }],
  );
}
