/*
 * How a request can fail: what, who, and whether another try is safe. One table maps it to what the
 * client sees; nothing else in the proxy invents statuses.
 */

/** Who failed. */
export type FailureSource = "downstream" | "upstream" | "local";

/**
 * Whether the same request may be sent again:
 * - `never`;
 * - `idempotent`: the endpoint may have acted on it, so only if acting twice is harmless;
 * - `always`: not one byte of it can have been acted upon.
 */
export type RetryRule = "never" | "idempotent" | "always";

interface FailureKind {
  readonly source: FailureSource;
  readonly retry: RetryRule;
  /** Status of the answer if none was begun; 0: no answer can be given. */
  readonly status: number;
  /** RFC 9209 §2.3 error type for `Proxy-Status`. */
  readonly proxyError: string;
}

export const FAILURES = {
  // The client's side.
  bad_request: {
    source: "downstream",
    retry: "never",
    status: 400,
    proxyError: "http_request_error",
  },
  head_too_large: {
    source: "downstream",
    retry: "never",
    status: 431,
    proxyError: "http_request_error",
  },
  target_too_long: {
    source: "downstream",
    retry: "never",
    status: 414,
    proxyError: "http_request_error",
  },
  method_refused: {
    source: "downstream",
    retry: "never",
    status: 501,
    proxyError: "http_request_denied",
  },
  /** Something else than 100-continue: who does not know it could wait for ever, or answer too early. */
  expectation_refused: {
    source: "downstream",
    retry: "never",
    status: 417,
    proxyError: "http_request_error",
  },
  /** Known, and not allowed here: CONNECT without a route for it. */
  method_not_allowed: {
    source: "downstream",
    retry: "never",
    status: 405,
    proxyError: "http_request_denied",
  },
  version_refused: {
    source: "downstream",
    retry: "never",
    status: 505,
    proxyError: "http_request_error",
  },
  head_timeout: {
    source: "downstream",
    retry: "never",
    status: 408,
    proxyError: "http_request_error",
  },
  body_timeout: {
    source: "downstream",
    retry: "never",
    status: 408,
    proxyError: "http_request_error",
  },
  client_closed: {
    source: "downstream",
    retry: "never",
    status: 0,
    proxyError: "http_request_error",
  },
  // Our own decisions.
  forbidden: { source: "local", retry: "never", status: 403, proxyError: "http_request_denied" },
  no_route: { source: "local", retry: "never", status: 404, proxyError: "destination_not_found" },
  no_candidate: {
    source: "local",
    retry: "always",
    status: 503,
    proxyError: "destination_unavailable",
  },
  overloaded: {
    source: "local",
    retry: "always",
    status: 503,
    proxyError: "connection_limit_reached",
  },
  /** More than can be borne: the least important go first. */
  shed: { source: "local", retry: "always", status: 503, proxyError: "destination_unavailable" },
  /** More than its owner lets pass in this time. */
  rate_limited: { source: "local", retry: "never", status: 429, proxyError: "http_request_denied" },
  /** It must stay in a subtree, and nobody there can take it. */
  fenced: { source: "local", retry: "never", status: 503, proxyError: "destination_unavailable" },
  /** A write that would go to who is no primary any more, or not yet. */
  not_primary: {
    source: "local",
    retry: "always",
    status: 503,
    proxyError: "destination_unavailable",
  },
  misdirected: {
    source: "downstream",
    retry: "never",
    status: 421,
    proxyError: "http_request_error",
  },
  loop: { source: "local", retry: "always", status: 508, proxyError: "proxy_loop_detected" },
  deadline: { source: "local", retry: "never", status: 504, proxyError: "http_response_timeout" },
  /** We end, or the port does. */
  draining: {
    source: "local",
    retry: "always",
    status: 503,
    proxyError: "destination_unavailable",
  },
  // The endpoint's side.
  connect_refused: {
    source: "upstream",
    retry: "always",
    status: 503,
    proxyError: "connection_refused",
  },
  connect_timeout: {
    source: "upstream",
    retry: "always",
    status: 503,
    proxyError: "connection_timeout",
  },
  tls_failed: {
    source: "upstream",
    retry: "always",
    status: 503,
    proxyError: "tls_certificate_error",
  },
  /** The connection ended before any byte of an answer; the request may have been read. */
  closed_early: {
    source: "upstream",
    retry: "idempotent",
    status: 502,
    proxyError: "connection_terminated",
  },
  /** An idle connection turned out dead before the kernel took a byte of the request for it. */
  not_sent: {
    source: "upstream",
    retry: "always",
    status: 502,
    proxyError: "connection_terminated",
  },
  /** The same, but the request was on its way: the endpoint may have read it before it went. */
  stale_connection: {
    source: "upstream",
    retry: "idempotent",
    status: 502,
    proxyError: "connection_terminated",
  },
  /** HTTP/2: the endpoint says that it has not acted on the request (RFC 9113 §8.7). */
  refused_stream: {
    source: "upstream",
    retry: "always",
    status: 503,
    proxyError: "destination_unavailable",
  },
  try_timeout: {
    source: "upstream",
    retry: "idempotent",
    status: 504,
    proxyError: "http_response_timeout",
  },
  /** The link to that cluster stopped answering probes, or a connection over HTTP/2 its ping. */
  link_down: {
    source: "upstream",
    retry: "idempotent",
    status: 502,
    proxyError: "connection_terminated",
  },
  /** The next gateway says it never passed the request on. */
  refused_by_gateway: {
    source: "upstream",
    retry: "always",
    status: 503,
    proxyError: "destination_unavailable",
  },
  /** Neither side said anything for too long. */
  stream_idle: {
    source: "upstream",
    retry: "never",
    status: 504,
    proxyError: "http_response_timeout",
  },
  answer_truncated: {
    source: "upstream",
    retry: "never",
    status: 502,
    proxyError: "http_response_incomplete",
  },
  /** It answered by a status that says "not now". If that is not tried again, the client gets it as it is. */
  retryable_status: {
    source: "upstream",
    retry: "idempotent",
    status: 502,
    proxyError: "destination_unavailable",
  },
  /** What came was no HTTP. */
  bad_answer: {
    source: "upstream",
    retry: "idempotent",
    status: 502,
    proxyError: "http_protocol_error",
  },
} as const satisfies Record<string, FailureKind>;

export type FailureName = keyof typeof FAILURES;

/** Tells a kind of failure from any other text. */
export function isFailureName(text: string): text is FailureName {
  return Object.hasOwn(FAILURES, text);
}

/** What is cut because the process, or the port, has drained for as long as it may. */
export const DRAINED: Failure = { kind: "draining", detail: "the time to drain is over" };

/** What a connection to an endpoint failed with because of a limit of this machine: nothing against the endpoint. */
export function isOwnLimit(code: string): boolean {
  return code === "EMFILE" || code === "ENFILE" || code === "ENOBUFS" || code === "ENOMEM";
}

/** A failure and what is known of it. `detail` goes to logs, not to clients. */
export interface Failure {
  readonly kind: FailureName;
  readonly detail: string;
  /** When another try has a chance, ms from now; absent: nobody knows. */
  readonly retryAfterMs?: number;
  /** The rate limit that it has met. */
  readonly limit?: { readonly name: string; readonly rate: number };
}

export function failure(kind: FailureName, detail: string): Failure {
  return { kind, detail };
}
