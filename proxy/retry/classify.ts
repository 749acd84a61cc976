import type { RetryRule } from "#proxy/exchange/failure.ts";

/** RFC 9110 §9.2.2. */
const IDEMPOTENT: ReadonlySet<string> = new Set([
  "GET",
  "HEAD",
  "OPTIONS",
  "PUT",
  "DELETE",
  "TRACE",
]);

/** Whether a request that met a failure of this rule may be sent again. */
export function mayRetry(rule: RetryRule, method: string): boolean {
  return rule === "always" || (rule === "idempotent" && IDEMPOTENT.has(method));
}

/** Answers of an endpoint that say "not now, not I": worth another try if the method allows it. */
export function isRetryableStatus(status: number): boolean {
  return status === 502 || status === 503 || status === 504;
}
