import type { Millis } from "#kernel/brand.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import { FAILURES, type Failure } from "#proxy/exchange/failure.ts";
import type { Attempt } from "#proxy/relay/attempt.ts";
import type { LostWays } from "#proxy/retry/lost_ways.ts";

/**
 * True if another try need not be paid for: the way was lost and not the endpoint, and nobody could know it. It adds
 * no load to anybody, and when a gateway or a link dies under load every request on it needs one at once.
 */
export function isFree(
  { endpoint, startedAt }: Attempt,
  { kind, detail }: Failure,
  lostWays: LostWays<EndpointState>,
  now: Millis,
): boolean {
  // Our own limit; it has gone nowhere.
  if (kind === "overloaded") return true;
  if (kind === "refused_by_gateway") {
    // A way that this request alone may not go.
    if (detail === "loop") return true;
    if (detail === "shed" || detail === "overloaded") return false;
  }
  const wasCut = kind === "closed_early" || kind === "stale_connection";
  const isLost =
    kind === "link_down" ||
    FAILURES[kind].retry === "always" ||
    (wasCut && endpoint.locale.kind !== "local");
  return isLost && lostWays.lose(endpoint, startedAt, now);
}
