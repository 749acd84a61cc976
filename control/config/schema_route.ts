import { z } from "zod";
import {
  duration,
  editableHeader,
  headerName,
  headerValue,
  hostname,
  label,
  pattern,
  port,
  preciseHostname,
} from "#control/config/scalars.ts";

/* HTTPRoute of Gateway API v1. */

export const parentRef = z.strictObject({
  group: z.literal("gateway.networking.k8s.io").optional(),
  kind: z.literal("Gateway").optional(),
  name: label,
  namespace: label.optional(),
  sectionName: label.optional().describe("only this listener of the Gateway"),
  port: port.optional().describe("only the Gateway's listeners at this port"),
});

export type ParentRef = z.infer<typeof parentRef>;

const serviceRef = {
  group: z.enum(["", "espalier.dev"]).optional(),
  kind: z.literal("Service").optional(),
  name: label,
  namespace: label.optional(),
  port,
};
const weight = z.int().min(0).max(1_000_000).default(1);

/** A backend that gets what comes as it is. */
export const serviceBackendRef = z.strictObject({ ...serviceRef, weight });

const rooted = z.string().startsWith("/").max(1_024);
const path = z
  .discriminatedUnion("type", [
    z.strictObject({ type: z.literal("Exact"), value: rooted }),
    z.strictObject({ type: z.literal("PathPrefix"), value: rooted.default("/") }),
    z.strictObject({ type: z.literal("RegularExpression"), value: pattern }),
  ])
  .describe("by path elements; a regular expression covers the whole path");

function valueMatch<N extends z.ZodType>(name: N) {
  return z.discriminatedUnion("type", [
    z.strictObject({ type: z.literal("Exact"), name, value: z.string().max(4_096) }),
    z.strictObject({ type: z.literal("RegularExpression"), name, value: pattern }),
  ]);
}

/** Gateway API leaves `type` out for the usual one. */
function typed<T extends z.ZodType>(schema: T, usual: string) {
  return z.preprocess(
    (value) =>
      typeof value === "object" && value !== null && !Array.isArray(value)
        ? { type: usual, ...value }
        : value,
    schema,
  );
}

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
  headers: z
    .array(typed(valueMatch(headerName), "Exact"))
    .max(16)
    .default([]),
  queryParams: z
    .array(typed(valueMatch(z.string().min(1).max(256)), "Exact"))
    .max(16)
    .default([]),
});

const headerEdits = z.strictObject({
  set: z
    .array(z.strictObject({ name: editableHeader, value: headerValue }))
    .max(16)
    .default([]),
  add: z
    .array(z.strictObject({ name: editableHeader, value: headerValue }))
    .max(16)
    .default([]),
  remove: z.array(editableHeader).max(16).default([]),
});
const requestEdits = z.strictObject({
  type: z.literal("RequestHeaderModifier"),
  requestHeaderModifier: headerEdits,
});
const answerEdits = z.strictObject({
  type: z.literal("ResponseHeaderModifier"),
  responseHeaderModifier: headerEdits,
});

/** What a path may become: it is written into request lines and `Location` as it is. */
const newPath = z
  .string()
  .max(1_024)
  .regex(/^[!-~]*$/, "must be printable ASCII without blanks");
const pathEdit = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("ReplaceFullPath"), replaceFullPath: newPath }),
  z.strictObject({ type: z.literal("ReplacePrefixMatch"), replacePrefixMatch: newPath }),
]);

/** `https://shop.example`, `https://*.example`, or `*`. */
const origin = z
  .string()
  .max(253)
  .regex(
    /^(?:\*|[a-z][a-z0-9+.-]*:\/\/(?:\*\.)?[a-z0-9.-]+(?::\d{1,5})?)$/,
    "must be an origin such as https://shop.example, possibly with *. before the host, or *",
  );
const method = z.string().regex(/^(?:\*|[A-Z]{1,32})$/, "must be a method or *");
const listed = z.union([z.literal("*"), headerName]);

const filter = z.discriminatedUnion("type", [
  requestEdits,
  answerEdits,
  z.strictObject({
    type: z.literal("RequestRedirect"),
    requestRedirect: z.strictObject({
      scheme: z.enum(["http", "https"]).optional(),
      hostname: preciseHostname.optional(),
      path: pathEdit.optional(),
      port: port.optional(),
      statusCode: z
        .union([z.literal(301), z.literal(302), z.literal(303), z.literal(307), z.literal(308)])
        .default(302),
    }),
  }),
  z.strictObject({
    type: z.literal("URLRewrite"),
    urlRewrite: z.strictObject({
      hostname: preciseHostname.optional(),
      path: pathEdit.optional(),
    }),
  }),
  z.strictObject({
    type: z.literal("RequestMirror"),
    requestMirror: z
      .strictObject({
        backendRef: z.strictObject(serviceRef),
        percent: z.int().min(0).max(100).optional(),
        fraction: z
          .strictObject({
            numerator: z.int().min(0),
            denominator: z.int().min(1).default(100),
          })
          .refine((f) => f.numerator <= f.denominator, "is more than one")
          .optional(),
      })
      .refine((m) => m.percent === undefined || m.fraction === undefined, {
        message: "give percent or fraction, not both",
      }),
  }),
  z.strictObject({
    type: z.literal("CORS"),
    cors: z.strictObject({
      allowOrigins: z.array(origin).max(64).default([]),
      allowCredentials: z.boolean().default(false),
      allowMethods: z.array(method).max(9).default([]),
      allowHeaders: z.array(listed).max(64).default([]),
      exposeHeaders: z.array(listed).max(64).default([]),
      maxAge: z.int().min(1).default(5).describe("seconds"),
    }),
  }),
]);
export type RouteFilter = z.infer<typeof filter>;

const retry = z.strictObject({
  codes: z.array(z.int().min(400).max(599)).max(32).optional(),
  attempts: z.int().min(0).max(10).optional(),
  backoff: duration.optional(),
});

const sessionPersistence = z
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

const rule = z
  .strictObject({
    name: label.optional(),
    matches: z.array(match).max(64).default([]),
    filters: z.array(filter).max(16).default([]),
    backendRefs: z
      .array(
        z.strictObject({
          ...serviceRef,
          weight,
          filters: z
            .array(z.discriminatedUnion("type", [requestEdits, answerEdits]))
            .max(2)
            .default([]),
        }),
      )
      .max(16)
      .default([]),
    timeouts: z
      .strictObject({ request: duration.optional(), backendRequest: duration.optional() })
      .default({}),
    retry: retry.optional(),
    sessionPersistence: sessionPersistence.optional(),
  })
  .superRefine((value, ctx) => {
    for (const { path: at, message } of ruleProblems(value)) {
      ctx.addIssue({ code: "custom", path: at, message });
    }
  });

interface RuleLike {
  readonly matches: ReadonlyArray<z.infer<typeof match>>;
  readonly filters: readonly RouteFilter[];
  readonly backendRefs: readonly unknown[];
}

/** What no single field shows (Gateway API's own validation rules). */
function ruleProblems({ matches, filters, backendRefs }: RuleLike) {
  const problems = methodProblems({ matches, filters });
  const seen = new Set<string>();
  filters.forEach((one, i) => {
    const at = ["filters", i];
    if (seen.has(one.type) && one.type !== "RequestMirror") {
      problems.push({ path: [...at, "type"], message: `a second ${one.type}` });
    }
    seen.add(one.type);
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
  if (!seen.has("RequestRedirect")) return problems;
  if (seen.has("URLRewrite")) {
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
  const problems: Array<{ path: PropertyKey[]; message: string }> = [];
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

export const routeSpec = z.strictObject({
  parentRefs: z.array(parentRef).min(1).max(32),
  hostnames: z.array(hostname).max(16).default([]),
  rules: z.array(rule).min(1).max(16),
});
export type RouteSpec = z.infer<typeof routeSpec>;
