import type { AnswerHead } from "#proxy/exchange/exchange.ts";
import { FAILURES, isFailureName, type RetryRule } from "#proxy/exchange/failure.ts";
import { grpcStatusOfAnswer } from "#proxy/exchange/grpc.ts";
import type { RelayPlan } from "#proxy/relay/plan.ts";
import { isRetryableStatus, mayRetry } from "#proxy/retry/classify.ts";

/**
 * Whether an answer says "not now", as its route or its status has it; undefined: it does not. Of a call that is
 * the status of an answer without messages (gRFC A6): later the client has something of it. Who lists statuses
 * of gRPC means that acting twice does no harm, for calls are all POST.
 */
export function retryRuleOf(
  { retry, isCall }: RelayPlan,
  { status, body, fields }: AnswerHead,
): RetryRule | undefined {
  if (isCall && retry?.grpcStatuses !== undefined && (body === 0 || status !== 200)) {
    if (retry.grpcStatuses.has(grpcStatusOfAnswer(status, fields))) return "always";
  }
  const isListed = retry?.statuses?.has(status) ?? isRetryableStatus(status);
  return isListed ? "idempotent" : undefined;
}

/** Whether a gateway has refused a request for a reason that holds everywhere. @param kind that it gave. */
export function isFinal(kind: string): boolean {
  return isFailureName(kind) && FAILURES[kind].retry === "never";
}

/** Whether a request does no harm if it is made twice, at two places at once, and is worth it. */
export function mayHedge({ head, retry, isCall, service, session, data }: RelayPlan): boolean {
  if (service.raw || head.upgrade !== undefined || session !== undefined) return false;
  if (data?.write === true) return false;
  return mayRetry("idempotent", head.method) || (isCall && retry?.grpcStatuses !== undefined);
}

/** An endpoint that was given the connection itself has switched: to who asked by CONNECT that is a 200. */
export function acceptConnect(head: AnswerHead): void {
  if (head.status === 101) {
    head.status = 200;
    // A gateway between has said what a 101 says.
    head.reason = "";
  }
  head.upgrade = undefined;
}
