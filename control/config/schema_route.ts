import { z } from "zod";
import { duration, label, pattern } from "#control/config/scalars.ts";
import {
  backendFilters,
  httpFilter,
  type RouteFilter,
  repeatedFilters,
} from "#control/config/schema_filters.ts";
import {
  type Flaw,
  headerMatches,
  routeSpecOf,
  serviceRef,
  sessionPersistence,
  tellAll,
  timeouts,
  typed,
  valueMatch,
  weight,
} from "#control/config/schema_rule_parts.ts";

/* HTTPRoute of Gateway API v1. */

const rooted = z.string().startsWith("/").max(1_024);
const path = z
  .discriminatedUnion("type", [
    z.strictObject({ type: z.literal("Exact"), value: rooted }),
    z.strictObject({ type: z.literal("PathPrefix"), value: rooted.default("/") }),
    z.strictObject({ type: z.literal("RegularExpression"), value: pattern }),
  ])
  .describe("by path elements; a regular expression covers the whole path");

const METHODS = [
  "GET",
  "HEAD",
  "POST",
  "PUT",
  "DELETE",
  "CONNECT",
  "OPTIONS",
  "TRACE",
  "PATCH",
] as const;

const match = z.strictObject({
  path: typed(path, "PathPrefix").prefault({}),
  method: z.enum(METHODS).optional(),
  headers: headerMatches,
  queryParams: z
    .array(typed(valueMatch(z.string().min(1).max(256)), "Exact"))
    .max(16)
    .default([]),
});

const retry = z.strictObject({
  codes: z.array(z.int().min(400).max(599)).max(32).optional(),
  attempts: z.int().min(0).max(10).optional(),
  backoff: duration.optional(),
});

const rule = z
  .strictObject({
    name: label.optional(),
    matches: z.array(match).max(64).default([]),
    filters: z.array(httpFilter).max(16).default([]),
    backendRefs: z
      .array(z.strictObject({ ...serviceRef, weight, filters: backendFilters }))
      .max(16)
      .default([]),
    timeouts,
    retry: retry.optional(),
    sessionPersistence: sessionPersistence.optional(),
  })
  .superRefine((value, ctx) => tellAll(ctx, ruleProblems(value)));

interface RuleLike {
  readonly matches: ReadonlyArray<z.infer<typeof match>>;
  readonly filters: readonly RouteFilter[];
  readonly backendRefs: readonly unknown[];
}

/** What no single field shows (Gateway API's own validation rules). */
function ruleProblems({ matches, filters, backendRefs }: RuleLike): Flaw[] {
  const problems = methodProblems({ matches, filters });
  for (const { path: at, message } of repeatedFilters(filters)) {
    problems.push({ path: ["filters", ...at], message });
  }
  filters.forEach((one, i) => {
    const at = ["filters", i];
    const edit =
      one.type === "URLRewrite"
        ? one.urlRewrite.path
        : one.type === "RequestRedirect"
          ? one.requestRedirect.path
          : undefined;
    const prefixes = matches.length === 0 || matches.every((m) => m.path.type === "PathPrefix");
    if (edit?.type === "ReplacePrefixMatch" && !prefixes) {
      const message = "ReplacePrefixMatch needs matches of type PathPrefix";
      problems.push({ path: at, message });
    }
  });
  const has = (type: RouteFilter["type"]): boolean => filters.some((one) => one.type === type);
  if (!has("RequestRedirect")) return problems;
  if (has("URLRewrite")) {
    problems.push({
      path: ["filters"],
      message: "RequestRedirect and URLRewrite exclude each other",
    });
  }
  if (backendRefs.length > 0) {
    problems.push({ path: ["backendRefs"], message: "a redirected request reaches no backend" });
  }
  return problems;
}

/** A tunnel has a host and a port, no path, and nothing in it can be rewritten, copied or redirected. */
function methodProblems({ matches, filters }: Pick<RuleLike, "matches" | "filters">) {
  const problems: Flaw[] = [];
  matches.forEach(({ path: wanted, method: asked, queryParams }, i) => {
    const at = ["matches", i];
    if (asked === "TRACE") {
      problems.push({ path: [...at, "method"], message: "TRACE is never passed on" });
    }
    if (asked !== "CONNECT") return;
    if (wanted.type !== "PathPrefix" || wanted.value !== "/") {
      problems.push({ path: [...at, "path"], message: "the target of CONNECT has no path" });
    }
    if (queryParams.length > 0) {
      problems.push({
        path: [...at, "queryParams"],
        message: "the target of CONNECT has no query",
      });
    }
  });
  if (!matches.some(({ method: asked }) => asked === "CONNECT")) return problems;
  filters.forEach(({ type }, i) => {
    if (type === "RequestHeaderModifier" || type === "ResponseHeaderModifier") return;
    problems.push({ path: ["filters", i, "type"], message: `${type} is not for CONNECT` });
  });
  return problems;
}

export const routeSpec = routeSpecOf(rule);
export type RouteSpec = z.infer<typeof routeSpec>;
