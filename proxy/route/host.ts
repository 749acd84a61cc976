import type { Listener } from "#model/snapshot.ts";
import { listenerFor, type PortGroup } from "#proxy/listen/port_groups.ts";

/** `menu.shop:8080` → `menu.shop`; `[::1]:80` → `[::1]`. */
export function hostOf(authority: string): string {
  const colon = authority.lastIndexOf(":");
  if (colon < 0 || authority.endsWith("]")) return authority;
  return authority.slice(0, colon);
}

/** True if `pattern` (`shop.example`, `*.example` or undefined for all) covers `host` or `host`'s pattern. */
export function covers(pattern: string | undefined, host: string): boolean {
  if (pattern === undefined || pattern === host) return true;
  if (!pattern.startsWith("*.")) return false;
  const suffix = pattern.slice(1);
  return host.endsWith(suffix) && host.length > suffix.length;
}

/** The hosts of a route that `listener` answers for; undefined stands for every host. */
export function hostnamesOn(
  listener: Listener,
  hostnames: readonly string[],
): Array<string | undefined> {
  if (hostnames.length === 0) return [listener.hostname];
  const kept = hostnames.filter((hostname) => covers(listener.hostname, hostname));
  // A wildcard route on a listener for one host answers for that host.
  const narrowed = hostnames.some((hostname) => covers(hostname, listener.hostname ?? ""));
  return kept.length === 0 && narrowed ? [listener.hostname] : kept;
}

/** True if another listener of the port answers for `host`, so that routes of this one do not (GEP-1713). */
export function isIsolated(
  group: PortGroup,
  listener: Listener,
  host: string | undefined,
): boolean {
  if (group.listeners.length === 1 || host === undefined || host.startsWith("*.")) return false;
  return listenerFor(group, host) !== listener;
}
