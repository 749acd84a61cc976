import { z } from "zod";
import {
  editableHeader,
  headerName,
  headerValue,
  port,
  preciseHostname,
} from "#control/config/scalars.ts";
import { type Flaw, serviceRef, tellAll } from "#control/config/schema_rule_parts.ts";

/* Filters of HTTPRoute and GRPCRoute. */

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

const mirror = z.strictObject({
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
});
const cors = z.strictObject({
  type: z.literal("CORS"),
  cors: z.strictObject({
    allowOrigins: z.array(origin).max(64).default([]),
    allowCredentials: z.boolean().default(false),
    allowMethods: z.array(method).max(9).default([]),
    allowHeaders: z.array(listed).max(64).default([]),
    exposeHeaders: z.array(listed).max(64).default([]),
    maxAge: z.int().min(1).default(5).describe("seconds"),
  }),
});

/** Of an HTTPRoute's rule. */
export const httpFilter = z.discriminatedUnion("type", [
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
  mirror,
  cors,
]);

/** Of a GRPCRoute's rule. CORS is ours: pages that speak gRPC-Web need it. */
export const callFilter = z.discriminatedUnion("type", [requestEdits, answerEdits, mirror, cors]);

/** Of one backend, each at most once. */
export const backendFilters = z
  .array(z.discriminatedUnion("type", [requestEdits, answerEdits]))
  .max(2)
  .superRefine((filters, ctx) => tellAll(ctx, repeatedFilters(filters)))
  .default([]);

/** Filters of either kind of route. */
export type RouteFilter = z.infer<typeof httpFilter>;

/** Gateway API: none but mirrors may stand twice. */
export function repeatedFilters(filters: ReadonlyArray<{ readonly type: string }>): Flaw[] {
  const seen = new Set<string>();
  return filters.flatMap(({ type }, i) => {
    if (!seen.has(type) || type === "RequestMirror") {
      seen.add(type);
      return [];
    }
    return [{ path: [i, "type"], message: `a second ${type}` }];
  });
}
