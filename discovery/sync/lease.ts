import type { Millis } from "#kernel/brand.ts";

/** How long ago its owner was last heard. */
export type LeaseState = "fresh" | "stale" | "suspect" | "expired";

/** Period of heartbeats; each is jittered by ±20 %. */
export const HEARTBEAT_MS: Millis = 2_000;
/** One lease: three heartbeats. */
export const LEASE_MS: Millis = 3 * HEARTBEAT_MS;

/** One lease fresh, one stale, one suspect, then gone. */
export function leaseState(heardAt: Millis, now: Millis): LeaseState {
  const leases = (now - heardAt) / LEASE_MS;
  if (leases < 1) return "fresh";
  if (leases < 2) return "stale";
  return leases < 3 ? "suspect" : "expired";
}

const ORDER: readonly LeaseState[] = ["fresh", "stale", "suspect", "expired"];

/** The older of two. */
export function older<A extends LeaseState, B extends LeaseState>(a: A, b: B): A | B {
  return ORDER.indexOf(a) >= ORDER.indexOf(b) ? a : b;
}
