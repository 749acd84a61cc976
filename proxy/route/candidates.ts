import type { RequestHead } from "#proxy/exchange/exchange.ts";
import { announcedMethod } from "#proxy/filter/cors.ts";
import { type Conditions, conditionsHold, queriesHold } from "#proxy/route/conditions.ts";

/** What a request may be given, once its host and its path are found. */
export interface Candidate<T> {
  /** Undefined: it asks for nothing more. */
  readonly conditions: Conditions | undefined;
  readonly value: T;
  /** Answers browsers' preflights of the requests that it is for. */
  readonly preflights: boolean;
}

/** The first that is for the request. @param query what follows the `?` of its target; undefined: there is none. */
export function pick<T>(
  candidates: readonly Candidate<T>[] | undefined,
  head: RequestHead,
  query: string | undefined,
): T | undefined {
  if (candidates === undefined) return undefined;
  for (const one of candidates) if (isOpen(one, head, query)) return one.value;
  return undefined;
}

/**
 * Whether the candidate is for the request as it is, or for the one that a preflight announces. Of that one nobody
 * knows the headers' values: they are not asked for.
 */
export function isOpen<T>(
  { conditions, preflights }: Candidate<T>,
  head: RequestHead,
  query: string | undefined,
): boolean {
  if (conditions === undefined || conditionsHold(conditions, head, query)) return true;
  const announced = preflights ? announcedMethod(head) : undefined;
  if (announced === undefined) return false;
  const { method } = conditions;
  return (method === undefined || method === announced) && queriesHold(conditions, query);
}
