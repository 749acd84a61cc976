import type { GatewaySaid } from "#proxy/authorize/hop.ts";
import type { Outcome } from "#proxy/balance/endpoint_state.ts";
import type { AnswerHead } from "#proxy/exchange/exchange.ts";
import { FAILURES, isFailureName, type RetryRule } from "#proxy/exchange/failure.ts";
import { grpcStatusOfAnswer } from "#proxy/exchange/grpc.ts";
import { outcomeOfCall, outcomeOfStatus } from "#proxy/relay/outcome.ts";
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

/**
 * What the head of an answer tells of how much there is to do where it comes from.
 * @param said by the next gateway, if there is one.
 */
export function outcomeOfHead(
  { isCall }: Pick<RelayPlan, "isCall">,
  { status, body, fields }: AnswerHead,
  said: GatewaySaid | undefined,
): Outcome {
  const refused = said?.refused;
  if (refused === "shed" || refused === "overloaded") return "overloaded";
  // Other refusals are no matter of how much there is to do, nor is who cannot be reached.
  if (refused !== undefined) return "cancelled";
  if (said?.failed !== undefined) return "failed";
  if (!isCall || status !== 200) return outcomeOfStatus(status);
  return body === 0 ? outcomeOfCall(grpcStatusOfAnswer(status, fields)) : "ok";
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
