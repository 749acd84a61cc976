import type { Failure } from "#proxy/exchange/failure.ts";
import type { HttpDate } from "#proxy/exchange/http_date.ts";
import { ownAnswer } from "#proxy/exchange/own_answer.ts";
import { answerText } from "#proxy/http1/serializer.ts";

/**
 * The whole answer to a request that was not passed on: the reason's class, and the connection ends.
 * @param self the proxy's name in `Proxy-Status`.
 */
export function refusalText(reason: Failure, self: string, date: HttpDate): string {
  const { head, text } = ownAnswer(reason.kind, self);
  date.stamp(head.fields);
  return answerText(head, "length", "close") + text;
}
