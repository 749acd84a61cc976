import type { Outcome } from "#proxy/balance/endpoint_state.ts";
import type { FailureName } from "#proxy/exchange/failure.ts";

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
      return "cancelled";
    default:
      return "failed";
  }
}
