import type { Millis } from "#kernel/brand.ts";
import type { Rng } from "#kernel/rng.ts";

/** How long to wait between tries. */
export interface BackoffPolicy {
  readonly baseMs: Millis;
  readonly maxMs: Millis;
}

/** Default for reconnects between processes. */
export const RECONNECT: BackoffPolicy = { baseMs: 100, maxMs: 10_000 };

/**
 * Delay before try number `attempt` (0 = the first retry): exponential with full jitter, never below
 * a tenth of the step so that a tight loop is impossible. See the AWS Architecture Blog,
 * "Exponential Backoff And Jitter" (2015).
 */
export function backoffMs(policy: BackoffPolicy, attempt: number, rng: Rng): Millis {
  const step = Math.min(policy.maxMs, policy.baseMs * 2 ** Math.min(attempt, 30));
  return step * (0.1 + 0.9 * rng.next());
}
