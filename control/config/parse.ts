import { type Document, LineCounter, parseAllDocuments } from "yaml";
import type { z } from "zod";
import { noResources, type Origin, problemAt, type Resources } from "#control/config/resources.ts";
import { KINDS } from "#control/config/schema.ts";
import type { Problem } from "#kernel/result.ts";

/** Characters of a name that nobody knows. */
const NAME_SHOWN = 100;
/** Aliases can make a small text a huge value. */
const ALIASES_MAX = 50;

/** One file's resources, and everything that is wrong with it. */
export function parseResources(
  text: string,
  source: string,
): { readonly resources: Resources; readonly problems: readonly Problem[] } {
  const lines = new LineCounter();
  const resources = noResources();
  const problems: Problem[] = [];
  const documents = parseAllDocuments(text, { lineCounter: lines, uniqueKeys: true });
  for (const document of Array.isArray(documents) ? documents : []) {
    problems.push(
      ...parseDocument(document, { source, lineOf: lineFinder(document, lines) }, resources),
    );
  }
  return { resources, problems };
}

function parseDocument(document: Document, origin: Origin, into: Resources): Problem[] {
  const { source } = origin;
  if (document.errors.length > 0) {
    return document.errors.map((error) => {
      const line = error.linePos?.[0].line;
      const message = error.message.split("\n")[0]!.replace(/ at line \d+.*$/, "");
      return { source, path: "", message, ...(line === undefined ? {} : { line }) };
    });
  }
  const value = plainValue(document);
  if (value === undefined) return [problemAt(origin, [], "too many aliases")];
  // An empty document, as after a last `---`.
  if (value === null) return [];
  if (typeof value !== "object") return [problemAt(origin, [], "not a resource")];
  const { apiVersion, kind } = value as Record<string, unknown>;
  if (typeof apiVersion !== "string" || typeof kind !== "string") {
    const path = typeof apiVersion === "string" ? "kind" : "apiVersion";
    return [problemAt(origin, [path], "must be a text: apiVersion and kind name a resource")];
  }
  const name = `${apiVersion}/${kind}`;
  const schema = KINDS[name as keyof typeof KINDS] as z.ZodType | undefined;
  if (schema === undefined) {
    const known = Object.keys(KINDS).join(", ");
    const path = Object.keys(KINDS).some((k) => k.startsWith(`${apiVersion}/`))
      ? "kind"
      : "apiVersion";
    return [
      problemAt(
        origin,
        [path],
        `unknown resource ${JSON.stringify(name.slice(0, NAME_SHOWN))}; known are ${known}`,
      ),
    ];
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) return parsed.error.issues.flatMap((issue) => issueProblems(issue, origin));
  const resource = { ...(parsed.data as object), origin } as never;
  listOf(into, kind).push(resource);
  return [];
}

function plainValue(document: Document): unknown {
  try {
    return document.toJS({ maxAliasCount: ALIASES_MAX });
  } catch {
    return undefined;
  }
}

function listOf(into: Resources, kind: string): unknown[] {
  switch (kind) {
    case "Gateway":
      return into.gateways;
    case "HTTPRoute":
      return into.routes;
    case "GRPCRoute":
      return into.grpcRoutes;
    case "TCPRoute":
    case "TLSRoute":
      return into.streamRoutes;
    case "BackendTLSPolicy":
      return into.tlsPolicies;
    case "ConfigMap":
      return into.configMaps;
    case "Secret":
      return into.secrets;
    case "Certificate":
      return into.certificates;
    case "GatewayParameters":
      return into.parameters;
    case "Service":
      return into.services;
    case "ServiceExport":
      return into.exports;
    case "TrafficPolicy":
      return into.trafficPolicies;
    default:
      return into.clusters;
  }
}

/** An unknown field is a problem of its own, at its own line. */
function issueProblems(issue: z.core.$ZodIssue, origin: Origin): Problem[] {
  if (issue.code !== "unrecognized_keys") return [problemAt(origin, issue.path, issue.message)];
  return issue.keys.map((key) =>
    problemAt(origin, [...issue.path, key], "unknown field, or not supported yet"),
  );
}

/** Finds the line of a path, or of the nearest thing above it that is there. */
function lineFinder(document: Document, lines: LineCounter): Origin["lineOf"] {
  return (path) => {
    for (let length = path.length; length >= 0; length--) {
      const at = offsetOf(document, path.slice(0, length));
      if (at !== undefined) return lines.linePos(at).line;
    }
    return 1;
  };
}

interface MaybePair {
  readonly key?: { readonly value?: unknown; readonly range?: readonly number[] | null };
}

/** Of a field its key, of a list's item the item itself. */
function offsetOf(document: Document, path: readonly PropertyKey[]): number | undefined {
  const parentPath = path.slice(0, -1) as unknown[];
  const parent = (parentPath.length === 0 ? document.contents : document.getIn(parentPath, true)) as
    | { readonly items?: readonly unknown[]; readonly range?: readonly number[] | null }
    | null
    | undefined;
  const last = path.at(-1);
  if (last === undefined) return document.contents?.range?.[0];
  if (typeof last === "number") {
    const item = parent?.items?.[last] as { readonly range?: readonly number[] | null } | undefined;
    return item?.range?.[0];
  }
  const pair = parent?.items?.find((item) => (item as MaybePair).key?.value === last);
  return (pair as MaybePair | undefined)?.key?.range?.[0];
}
