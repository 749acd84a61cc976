import type { Cors } from "#model/snapshot.ts";
import type { Fields, RequestHead } from "#proxy/exchange/exchange.ts";
import { fieldValue, removeFields } from "#proxy/exchange/fields.ts";

/** What an endpoint says of it is replaced: two answers to one question are refused by browsers. */
const OURS: ReadonlySet<string> = new Set([
  "access-control-allow-origin",
  "access-control-allow-credentials",
  "access-control-allow-methods",
  "access-control-allow-headers",
  "access-control-expose-headers",
  "access-control-max-age",
]);

/** The method that a browser asks leave for (Fetch standard, CORS-preflight request); undefined: it asks for none. */
export function announcedMethod({ method, fields }: RequestHead): string | undefined {
  if (method !== "OPTIONS" || fieldValue(fields, "origin") === undefined) return undefined;
  return fieldValue(fields, "access-control-request-method");
}

/** The CORS protocol (Fetch standard §3.3) for one rule. */
export class CorsPolicy {
  readonly #rules: Cors;

  constructor(rules: Cors) {
    this.#rules = rules;
  }

  /** The origin of the page that asks; undefined: no browser's request across origins. */
  originOf(head: RequestHead): string | undefined {
    return fieldValue(head.fields, "origin");
  }

  /** Fields of the answer to a preflight; without any that allow, the browser refuses. */
  preflightFields(head: RequestHead): Fields {
    const fields: Fields = ["vary", "Origin"];
    if (!this.#allowOrigin(this.originOf(head)!, fields)) return fields;
    const { allowMethods, allowHeaders, maxAge } = this.#rules;
    // A wildcard means every name only where no credentials are sent: so we name what was asked for.
    const asked = (rule: readonly string[], name: string): string =>
      rule.includes("*") ? (fieldValue(head.fields, name) ?? "") : rule.join(", ");
    const methods = asked(allowMethods, "access-control-request-method");
    const headers = asked(allowHeaders, "access-control-request-headers");
    if (methods !== "") fields.push("access-control-allow-methods", methods);
    if (headers !== "") fields.push("access-control-allow-headers", headers);
    fields.push("access-control-max-age", String(maxAge));
    return fields;
  }

  /** Says on an answer whether a page of `origin` may read it. */
  mark(origin: string, answer: Fields): void {
    removeFields(answer, OURS);
    answer.push("vary", "Origin");
    if (!this.#allowOrigin(origin, answer)) return;
    const { exposeHeaders } = this.#rules;
    if (exposeHeaders.length > 0) {
      answer.push("access-control-expose-headers", exposeHeaders.join(", "));
    }
  }

  #allowOrigin(origin: string, fields: Fields): boolean {
    const { allowOrigins, allowCredentials } = this.#rules;
    if (!allowOrigins.some((pattern) => originMatches(pattern, origin))) return false;
    fields.push("access-control-allow-origin", origin);
    if (allowCredentials) fields.push("access-control-allow-credentials", "true");
    return true;
  }
}

/** `https://*.example.org` covers any number of labels, not the bare domain. */
function originMatches(pattern: string, origin: string): boolean {
  if (pattern === "*") return true;
  const asked = origin.toLowerCase();
  const star = pattern.indexOf("*");
  if (star < 0) return pattern === asked;
  const [before, after] = [pattern.slice(0, star), pattern.slice(star + 1)];
  const middle = asked.slice(before.length, asked.length - after.length);
  return (
    asked.length > before.length + after.length &&
    asked.startsWith(before) &&
    asked.endsWith(after) &&
    /^[a-z0-9.-]+$/.test(middle)
  );
}
