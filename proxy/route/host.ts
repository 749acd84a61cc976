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
