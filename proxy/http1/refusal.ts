import { FAILURES, type Failure } from "#proxy/exchange/failure.ts";
import type { HttpDate } from "#proxy/http1/http_date.ts";
import { answerText } from "#proxy/http1/serializer.ts";

/**
 * The whole answer to a request that was not passed on: the reason's class, and the connection ends.
 * @param self the proxy's name in `Proxy-Status`.
 */
export function refusalText(reason: Failure, self: string, date: HttpDate): string {
  const { status, proxyError } = FAILURES[reason.kind];
  const body = `${status} ${reason.kind}\n`;
  const fields = ["content-type", "text/plain", "proxy-status", `${self}; error=${proxyError}`];
  date.stamp(fields);
  const head = { status, reason: "", fields, body: body.length, upgrade: undefined };
  return answerText(head, "length", "close") + body;
}
