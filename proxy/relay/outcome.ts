import type { Outcome } from "#proxy/balance/endpoint_state.ts";
import type { Stage } from "#proxy/exchange/exchange.ts";
import { type Failure, type FailureName, failure, isFailureName } from "#proxy/exchange/failure.ts";
import { GrpcStatus, isEndpointsFault } from "#proxy/exchange/grpc.ts";

/** How a try failed that was given up after its own limit: what had not begun, no endpoint has seen. */
export function timedOut(stage: Stage): FailureName {
  if (stage === "waits") return "overloaded";
  return stage === "connects" ? "connect_timeout" : "try_timeout";
}

/** What it tells of an endpoint that a deadline has come. Of one that nobody has asked yet it tells nothing. */
export function outcomeAtDeadline(stage: Stage): Outcome {
  return stage === "waits" ? "cancelled" : "failed";
}

/** What an answer of HTTP tells of its endpoint. */
export function outcomeOfStatus(status: number): Outcome {
  if (status === 429) return "limited";
  if (status === 503) return "overloaded";
  return status < 500 ? "ok" : "failed";
}

/** What the status of a call tells of its endpoint. */
export function outcomeOfCall(grpcStatus: number): Outcome {
  if (grpcStatus === GrpcStatus.RESOURCE_EXHAUSTED) return "limited";
  if (grpcStatus === GrpcStatus.UNAVAILABLE) return "overloaded";
  return isEndpointsFault(grpcStatus) ? "failed" : "ok";
}

/** Whether a gateway has refused a request because it has nobody for it, and not because it is busy. */
export function hasNobody({ kind, detail }: Failure): boolean {
  return kind === "refused_by_gateway" && detail === ("no_candidate" satisfies FailureName);
}

/** Whether a gateway has refused a request without being to blame: others behind it are, or the way that it came. */
export function isBlameless({ kind, detail }: Failure): boolean {
  return kind === "refused_by_gateway" && BLAMELESS.has(detail);
}

const BLAMELESS: ReadonlySet<string> = new Set<FailureName>([
  "no_candidate",
  "loop",
  "refused_by_gateway",
]);

/**
 * Why a request is given up, to whoever asked: what a gateway has refused, we refuse for the same reason. That there
 * is nobody we know only if all have been asked.
 */
export function reasonToTell(last: Failure, allAsked: boolean): Failure {
  if (last.kind !== "refused_by_gateway" || !isFailureName(last.detail)) return last;
  if (hasNobody(last) && !allAsked) return last;
  return failure(last.detail, "said by the next gateway");
}

/** What a failed try tells of its endpoint. */
export function outcomeOf(kind: FailureName): Outcome {
  switch (kind) {
    case "connect_refused":
    case "connect_timeout":
    case "tls_failed":
      return "unreachable";
    // Our own limit turned it away: a busy endpoint is not a sick one.
    case "overloaded":
    // Connections end when they have been idle for long: whether it is well the next one will tell.
    case "stale_connection":
    case "not_sent":
    // It wants this one elsewhere, or later: HTTP/2 says so of what is one too many, or comes too late.
    case "refused_stream":
      return "cancelled";
    default:
      return "failed";
  }
}
