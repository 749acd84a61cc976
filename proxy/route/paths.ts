import type { Pattern } from "#model/pattern.ts";
import type { PathMatch } from "#model/snapshot.ts";
import type { RequestHead } from "#proxy/exchange/exchange.ts";
import { type Candidate, pick } from "#proxy/route/candidates.ts";
import { type Conditions, compareConditions, patternOf } from "#proxy/route/conditions.ts";

/**
 * Paths of one host, looked up by their elements: the cost grows with the depth of the asked path, not
 * with the number of routes. Exact beats regular expression (in the order of their length) beats prefix,
 * a longer prefix beats a shorter one; then a method, more headers, more query parameters; then what
 * was added first (Gateway API, HTTPRouteMatch). Only regular expressions are tried one by one.
 */
export class PathTable<T> {
  readonly #exact = new Map<string, Candidate<T>[]>();
  readonly #patterns: Array<{ source: string; pattern: Pattern; candidates: Candidate<T>[] }> = [];
  readonly #prefix = new Map<string, Candidate<T>[]>();
  /** The usual case: everything goes one way. */
  #only: T | undefined = undefined;

  /** @param preflights whether the rule answers them. */
  add(match: PathMatch, conditions: Conditions | undefined, value: T, preflights: boolean): void {
    const candidates = this.#candidatesOf(match);
    candidates.push({ conditions, value, preflights });
    // Stable: equals stay in the order in which they were added.
    candidates.sort((a, b) => compareConditions(b.conditions, a.conditions));
    const root = this.#prefix.get("");
    const simple = this.#prefix.size === 1 && this.#exact.size === 0 && this.#patterns.length === 0;
    this.#only =
      simple && root?.[0] !== undefined && root[0].conditions === undefined
        ? root[0].value
        : undefined;
  }

  /** `/menu` as a prefix covers `/menu` and `/menu/x`, not `/menux`. */
  find(head: RequestHead): T | undefined {
    const { method, target } = head;
    if (method === "CONNECT") return this.#findConnect(head);
    if (this.#only !== undefined) return this.#only;
    const mark = target.indexOf("?");
    const path = mark < 0 ? target : target.slice(0, mark);
    const query = mark < 0 ? undefined : target.slice(mark + 1);
    if (this.#exact.size > 0) {
      const exact = pick(this.#exact.get(path), head, query);
      if (exact !== undefined) return exact;
    }
    for (const { pattern, candidates } of this.#patterns) {
      const value = pattern.covers(path) ? pick(candidates, head, query) : undefined;
      if (value !== undefined) return value;
    }
    // `OPTIONS *` asks of the whole server.
    let prefix = path === "*" ? "" : withoutSlash(path);
    for (;;) {
      const value = pick(this.#prefix.get(prefix), head, query);
      if (value !== undefined) return value;
      const slash = prefix.lastIndexOf("/");
      if (slash < 0) return undefined;
      prefix = prefix.slice(0, slash);
    }
  }

  /** A tunnel is opened only where a match names CONNECT; its target has no path. */
  #findConnect(head: RequestHead): T | undefined {
    const named = this.#prefix
      .get("")
      ?.filter(({ conditions }) => conditions?.method === "CONNECT");
    return pick(named, head, undefined);
  }

  #candidatesOf({ type, value }: PathMatch): Candidate<T>[] {
    if (type === "RegularExpression") {
      const known = this.#patterns.find(({ source }) => source === value);
      if (known !== undefined) return known.candidates;
      const fresh = { source: value, pattern: patternOf(value), candidates: [] };
      this.#patterns.push(fresh);
      this.#patterns.sort((a, b) => b.source.length - a.source.length);
      return fresh.candidates;
    }
    const table = type === "Exact" ? this.#exact : this.#prefix;
    const key = type === "Exact" ? value : withoutSlash(value);
    let candidates = table.get(key);
    if (candidates === undefined) {
      candidates = [];
      table.set(key, candidates);
    }
    return candidates;
  }
}

function withoutSlash(path: string): string {
  return path.endsWith("/") ? path.slice(0, -1) : path;
}
