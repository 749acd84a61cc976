import { type Pattern, parsePattern } from "#model/pattern.ts";
import type { RequestMatch, ValueMatch } from "#model/snapshot.ts";
import type { RequestHead } from "#proxy/exchange/exchange.ts";
import { fieldValue } from "#proxy/exchange/fields.ts";

/** What a match asks of a request besides its host and path. */
export interface Conditions {
  readonly method: string | undefined;
  readonly headers: readonly ValueTest[];
  readonly queries: readonly ValueTest[];
}

interface ValueTest {
  readonly name: string;
  readonly test: (value: string) => boolean;
}

/** Undefined if it asks for nothing more. */
export function compileConditions(match: RequestMatch): Conditions | undefined {
  const { headers, queries, grpc } = match;
  const method = grpc ? "POST" : match.method;
  if (method === undefined && headers.length === 0 && queries.length === 0) return undefined;
  return { method, headers: headers.map(valueTest), queries: queries.map(valueTest) };
}

/** The pattern of a snapshot, which has been checked. */
export function patternOf(source: string): Pattern {
  const pattern = parsePattern(source);
  if (!pattern.ok) throw new Error(pattern.error);
  return pattern.value;
}

function valueTest({ name, type, value }: ValueMatch): ValueTest {
  if (type === "Exact") return { name, test: (asked) => asked === value };
  const pattern = patternOf(value);
  return { name, test: (asked) => pattern.covers(asked) };
}

/** @param query what follows the `?` of the target; undefined: there is none. */
export function conditionsHold(
  conditions: Conditions,
  head: RequestHead,
  query: string | undefined,
): boolean {
  const { method, headers } = conditions;
  if (method !== undefined && method !== head.method) return false;
  for (const { name, test } of headers) {
    const value = name === "host" ? head.authority : fieldValue(head.fields, name);
    if (value === undefined || !test(value)) return false;
  }
  return queriesHold(conditions, query);
}

/** Whether the query parameters are as asked. */
export function queriesHold({ queries }: Conditions, query: string | undefined): boolean {
  if (queries.length === 0) return true;
  const asked = new URLSearchParams(query ?? "");
  return queries.every(({ name, test }) => {
    const value = asked.get(name);
    return value !== null && test(value);
  });
}

/** Positive if `a` is more specific: Gateway API counts the method first, then headers, then query parameters. */
export function compareConditions(a: Conditions | undefined, b: Conditions | undefined): number {
  const method = Number(a?.method !== undefined) - Number(b?.method !== undefined);
  if (method !== 0) return method;
  const headers = (a?.headers.length ?? 0) - (b?.headers.length ?? 0);
  return headers !== 0 ? headers : (a?.queries.length ?? 0) - (b?.queries.length ?? 0);
}
