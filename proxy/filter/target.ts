import type { PathEdit, Redirect, Rewrite } from "#model/snapshot.ts";
import type { RequestHead } from "#proxy/exchange/exchange.ts";

const DEFAULT_PORT = { http: 80, https: 443 } as const;

/** The request's target after `edit`; its query stays. @param prefix the prefix that matched. */
export function editedTarget(target: string, edit: PathEdit, prefix: string | undefined): string {
  const mark = target.indexOf("?");
  const path = mark < 0 ? target : target.slice(0, mark);
  const query = mark < 0 ? "" : target.slice(mark);
  if (edit.type === "ReplaceFullPath") return rooted(edit.value) + query;
  const base = withoutSlash(prefix ?? "");
  if (!path.startsWith(base)) return target;
  const rest = path.slice(base.length);
  return rooted(withoutSlash(edit.value) + rest) + query;
}

/** Gateway API HTTPURLRewriteFilter: changes the head in place. */
export function rewriteHead(head: RequestHead, rewrite: Rewrite, prefix: string | undefined): void {
  if (rewrite.hostname !== undefined) head.authority = rewrite.hostname;
  if (rewrite.path !== undefined && head.target !== "*") {
    head.target = editedTarget(head.target, rewrite.path, prefix);
  }
}

/**
 * Gateway API HTTPRequestRedirectFilter: the value of `Location`.
 * @param from how the request came: scheme, and the port of its listener (0: the one in its authority).
 */
export function redirectLocation(
  head: RequestHead,
  redirect: Redirect,
  from: { readonly scheme: "http" | "https"; readonly port: number },
  prefix: string | undefined,
): string {
  const scheme = redirect.scheme ?? from.scheme;
  const host = redirect.hostname ?? withoutPort(head.authority);
  const port = redirect.port ?? (redirect.scheme === undefined ? portOf(head, from) : undefined);
  const target =
    redirect.path === undefined ? head.target : editedTarget(head.target, redirect.path, prefix);
  const shown = port === undefined || port === DEFAULT_PORT[scheme] ? "" : `:${port}`;
  return `${scheme}://${host}${shown}${target === "*" ? "/" : target}`;
}

function portOf(head: RequestHead, from: { readonly port: number }): number | undefined {
  if (from.port !== 0) return from.port;
  const colon = head.authority.lastIndexOf(":");
  const named = colon < 0 || head.authority.endsWith("]") ? "" : head.authority.slice(colon + 1);
  return named === "" ? undefined : Number(named);
}

function withoutPort(authority: string): string {
  const colon = authority.lastIndexOf(":");
  return colon < 0 || authority.endsWith("]") ? authority : authority.slice(0, colon);
}

function withoutSlash(path: string): string {
  return path.endsWith("/") ? path.slice(0, -1) : path;
}

/** `//host` would be another host to whoever reads it as a reference. */
function rooted(path: string): string {
  return `/${path.replace(/^\/+/, "")}`;
}
