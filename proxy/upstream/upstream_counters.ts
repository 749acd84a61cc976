import type { FailureName } from "#proxy/exchange/failure.ts";
import { Http2Counters } from "#proxy/http2/http2_counters.ts";

/** Why an open connection to an endpoint was closed. */
export const CLOSE_REASONS = [
  /** Nobody needed it for its idle time. */
  "idle",
  /** It was open for its lifetime. */
  "lifetime",
  /** It had carried all requests that it may. */
  "requests",
  /** The endpoint ended it, or said something unasked, while it was idle or before an answer began. */
  "stale",
  /** The endpoint's answer said that it is the last. */
  "endpoint",
  /** Nobody wanted its answer any more. */
  "cancelled",
  /** It broke under a request, or the answer was none. */
  "error",
  /** The probes of its link were not answered. */
  "link",
  /** More were open than a new configuration allows. */
  "limit",
  /** No configuration names the endpoint any more, or the proxy ends. */
  "retired",
  /** It had carried another protocol to its end. */
  "tunnel",
] as const;

/** One of them. */
export type CloseReason = (typeof CLOSE_REASONS)[number];

/** How a connection can fail to come about. */
export const CONNECT_FAILURES = ["connect_refused", "connect_timeout", "tls_failed"] as const;

/** One of them. */
export type ConnectFailure = (typeof CONNECT_FAILURES)[number];

/** What a proxy's connections to endpoints have met so far, all endpoints together. */
export class UpstreamCounters {
  opened = 0;
  readonly closed = countersOf(CLOSE_REASONS);
  readonly connectFailures = countersOf(CONNECT_FAILURES);
  /** Requests that found all connections of an endpoint busy, and waited. */
  waited = 0;
  /** Requests that found too many waiting. */
  overflowed = 0;
  /** Requests that waited in vain. */
  timedOut = 0;
  readonly http2 = new Http2Counters();
}

/** True if `kind` means that there was no connection. */
export function isConnectFailure(kind: FailureName): kind is ConnectFailure {
  return (CONNECT_FAILURES as readonly FailureName[]).includes(kind);
}

function countersOf<N extends string>(names: readonly N[]): Record<N, number> {
  return Object.fromEntries(names.map((name) => [name, 0])) as Record<N, number>;
}
