import type { AnswerHead } from "#proxy/exchange/exchange.ts";
import { FAILURES, type FailureName } from "#proxy/exchange/failure.ts";

/** An answer that the proxy gives by itself, and its body. */
export interface OwnAnswer {
  readonly head: AnswerHead;
  readonly text: string;
}

/**
 * The answer for a failure: a word for a body, and who says it and why for programs (RFC 9209). The detail stays
 * in our log.
 * @param self the proxy's name in `Proxy-Status`: its cluster.
 */
export function ownAnswer(kind: FailureName, self: string): OwnAnswer {
  const { status, proxyError } = FAILURES[kind];
  const text = `${status} ${kind}\n`;
  const fields = ["content-type", "text/plain", "proxy-status", `${self}; error=${proxyError}`];
  return { head: { status, reason: "", fields, body: text.length, upgrade: undefined }, text };
}
