import type { PathMatch } from "#model/snapshot.ts";

/**
 * Paths of one host, looked up by their elements: the cost grows with the depth of the asked path, not
 * with the number of routes. Exact beats prefix, a longer prefix beats a shorter one, and what was
 * added first beats what came later (Gateway API, HTTPRouteMatch).
 */
export class PathTable<T> {
  readonly #exact = new Map<string, T>();
  readonly #prefix = new Map<string, T>();

  add(match: PathMatch, value: T): void {
    const table = match.type === "Exact" ? this.#exact : this.#prefix;
    const key = match.type === "Exact" ? match.value : withoutSlash(match.value);
    if (!table.has(key)) table.set(key, value);
  }

  /** @param path without its query. `/menu` covers `/menu` and `/menu/x`, not `/menux`. */
  find(path: string): T | undefined {
    if (this.#exact.size > 0) {
      const exact = this.#exact.get(path);
      if (exact !== undefined) return exact;
    }
    let prefix = withoutSlash(path);
    // The root is asked for last and most often the only one there is.
    if (this.#prefix.size === 1 && this.#prefix.has("")) return this.#prefix.get("");
    for (;;) {
      const value = this.#prefix.get(prefix);
      if (value !== undefined) return value;
      const slash = prefix.lastIndexOf("/");
      if (slash < 0) return undefined;
      prefix = prefix.slice(0, slash);
    }
  }
}

function withoutSlash(path: string): string {
  return path.endsWith("/") ? path.slice(0, -1) : path;
}
