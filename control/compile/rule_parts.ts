import { compact } from "#control/compile/compact.ts";
import type { RouteFilter } from "#control/config/schema_filters.ts";
import type { RouteSpec } from "#control/config/schema_route.ts";
import { type ServiceName, serviceName } from "#model/names.ts";
import type { Filters, HeaderEdits, PathEdit, Persistence, RouteRule } from "#model/snapshot.ts";

/* What rules of HTTPRoute and GRPCRoute have in common. */

type HttpRule = RouteSpec["rules"][number];
type Ref = { readonly name: string; readonly namespace?: string | undefined };
type EditsOf<T extends RouteFilter["type"]> = Extract<RouteFilter, { type: T }>;

const SESSION_NAME = { Cookie: "espalier-session", Header: "x-espalier-session" } as const;

/** All of a rule but what it matches and when it is tried again. */
export type RuleParts = Omit<RouteRule, "matches" | "retry">;

/** @param namespace of the route: where its references point if they say nothing else. */
export function compileParts(
  rule: Omit<HttpRule, "matches" | "retry" | "name">,
  namespace: string,
): RuleParts {
  const { filters, backendRefs, timeouts, sessionPersistence } = rule;
  const named = (ref: Ref): ServiceName => serviceName(ref.name, ref.namespace ?? namespace);
  return compact({
    filters: filters.length === 0 ? undefined : compileFilters(filters, named),
    backends: backendRefs.map((ref) =>
      compact({
        service: named(ref),
        weight: ref.weight,
        request: find(ref.filters, "RequestHeaderModifier")?.requestHeaderModifier,
        answer: find(ref.filters, "ResponseHeaderModifier")?.responseHeaderModifier,
      }),
    ),
    requestTimeoutMs: timeouts.request,
    backendTimeoutMs: timeouts.backendRequest,
    persistence: sessionPersistence && persistenceOf(sessionPersistence),
  });
}

function compileFilters(
  filters: readonly RouteFilter[],
  named: (ref: Ref) => ServiceName,
): Filters {
  const redirect = find(filters, "RequestRedirect")?.requestRedirect;
  const rewrite = find(filters, "URLRewrite")?.urlRewrite;
  const request: HeaderEdits | undefined = find(
    filters,
    "RequestHeaderModifier",
  )?.requestHeaderModifier;
  return compact({
    request,
    answer: find(filters, "ResponseHeaderModifier")?.responseHeaderModifier,
    redirect:
      redirect &&
      compact({
        scheme: redirect.scheme,
        hostname: redirect.hostname,
        path: pathEdit(redirect.path),
        port: redirect.port,
        status: redirect.statusCode,
      }),
    rewrite: rewrite && compact({ hostname: rewrite.hostname, path: pathEdit(rewrite.path) }),
    cors: find(filters, "CORS")?.cors,
    mirrors: filters.flatMap((one) => {
      if (one.type !== "RequestMirror") return [];
      const { backendRef, percent, fraction } = one.requestMirror;
      const share =
        fraction === undefined ? (percent ?? 100) / 100 : fraction.numerator / fraction.denominator;
      return [{ service: named(backendRef), share }];
    }),
  });
}

function pathEdit(edit: EditsOf<"URLRewrite">["urlRewrite"]["path"]): PathEdit | undefined {
  if (edit === undefined) return undefined;
  return edit.type === "ReplaceFullPath"
    ? { type: edit.type, value: edit.replaceFullPath }
    : { type: edit.type, value: edit.replacePrefixMatch };
}

function persistenceOf(session: NonNullable<HttpRule["sessionPersistence"]>): Persistence {
  const { type, sessionName, absoluteTimeout, idleTimeout, cookieConfig } = session;
  const name = sessionName ?? SESSION_NAME[type];
  return compact({
    type,
    name: type === "Header" ? name.toLowerCase() : name,
    permanent: cookieConfig?.lifetimeType === "Permanent",
    absoluteTimeoutMs: absoluteTimeout,
    idleTimeoutMs: idleTimeout,
  });
}

function find<T extends RouteFilter["type"]>(
  filters: readonly RouteFilter[],
  type: T,
): EditsOf<T> | undefined {
  return filters.find((one): one is EditsOf<T> => one.type === type);
}
