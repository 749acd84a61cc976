import { compact } from "#control/compile/compact.ts";
import type { RouteFilter, RouteSpec } from "#control/config/schema_route.ts";
import { type ServiceName, serviceName } from "#model/names.ts";
import type { Filters, HeaderEdits, PathEdit, Persistence, RouteRule } from "#model/snapshot.ts";

type Rule = RouteSpec["rules"][number];
type EditsOf<T extends RouteFilter["type"]> = Extract<RouteFilter, { type: T }>;

/** Gateway API: a rule without matches is for every path. */
const EVERY_PATH = {
  path: { type: "PathPrefix", value: "/" },
  headers: [],
  queries: [],
  grpc: false,
} as const;
const SESSION_NAME = { Cookie: "espalier-session", Header: "x-espalier-session" } as const;

/** @param namespace of the route: where its references point if they say nothing else. */
export function compileHttpRule(rule: Rule, namespace: string): RouteRule {
  const { matches, filters, backendRefs, timeouts, retry, sessionPersistence } = rule;
  const named = (ref: { name: string; namespace?: string | undefined }): ServiceName =>
    serviceName(ref.name, ref.namespace ?? namespace);
  return compact({
    matches:
      matches.length === 0
        ? [{ ...EVERY_PATH, headers: [], queries: [] }]
        : matches.map(({ path, method, headers, queryParams }) =>
            compact({ path, method, headers, queries: queryParams, grpc: false }),
          ),
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
    retry:
      retry &&
      compact({
        statuses: retry.codes ?? [],
        grpcStatuses: [],
        attempts: retry.attempts,
        backoffMs: retry.backoff,
      }),
    persistence: sessionPersistence && persistenceOf(sessionPersistence),
  });
}

function compileFilters(
  filters: readonly RouteFilter[],
  named: (ref: { name: string; namespace?: string | undefined }) => ServiceName,
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

function persistenceOf(session: NonNullable<Rule["sessionPersistence"]>): Persistence {
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
