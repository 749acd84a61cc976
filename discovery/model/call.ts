import { parsePattern } from "#model/pattern.ts";

/*
 * Calls of gRPC as paths: `/package.Service/Method` (grpc/grpc, doc/PROTOCOL-HTTP2.md). A snapshot knows paths only;
 * what a match says of the service and of the method is written into one here, and read out of it again.
 */

/** What is asked of a call. A part left out may be anything. */
export interface CallMatch {
  /** Of `RegularExpression` each part is covered by an expression of its own. */
  readonly type: "Exact" | "RegularExpression";
  readonly service?: string | undefined;
  readonly method?: string | undefined;
}

/** How a path of a snapshot is written. */
interface PathText {
  readonly type: "Exact" | "PathPrefix" | "RegularExpression";
  readonly value: string;
}

const ANY = ".+";
/** Between the two groups of {@link callPath}'s expressions. */
const SEAM = ")/(?:";

/** As a path of a snapshot. @param match has no `)/(?:` in its service. */
export function callPath({ type, service, method }: CallMatch): PathText {
  if (type === "Exact" && method === undefined) {
    return { type: "PathPrefix", value: `/${service ?? ""}` };
  }
  if (type === "Exact" && service !== undefined) {
    return { type, value: `/${service}/${method}` };
  }
  return { type: "RegularExpression", value: `/(?:${service ?? ANY}${SEAM}${method ?? ANY})` };
}

/** Reads what {@link callPath} has written; undefined: that is no path of calls. */
export function callOf({ type, value }: PathText): CallMatch | undefined {
  if (type === "RegularExpression") {
    const seam = value.indexOf(SEAM);
    if (seam < 0 || !value.startsWith("/(?:") || !value.endsWith(")")) return undefined;
    const service = given(value.slice("/(?:".length, seam));
    const method = given(value.slice(seam + SEAM.length, -1));
    const parts = [service, method].filter((part) => part !== undefined);
    return parts.every((part) => parsePattern(part).ok) ? { type, service, method } : undefined;
  }
  if (type === "PathPrefix") {
    return { type: "Exact", service: value === "/" ? undefined : value.slice(1) };
  }
  // As servers of gRPC do: what follows the last slash is the method.
  const slash = value.lastIndexOf("/");
  if (slash <= 0 || slash === value.length - 1) return undefined;
  return { type, service: value.slice(1, slash), method: value.slice(slash + 1) };
}

function given(part: string): string | undefined {
  return part === ANY ? undefined : part;
}
