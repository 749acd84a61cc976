import type { Millis } from "#kernel/brand.ts";

/** Failures in a row that eject an endpoint (Envoy's consecutive_5xx: 5). */
export const EJECT_AFTER = 5;
/** A connection that cannot be made weighs more than an answer that says 500. */
export const CONNECT_FAILURE_WEIGHT = 2;
const EJECTION_BASE_MS = 1_000;
const EJECTION_MAX_MS = 10_000;

/** How an endpoint's last requests went. */
export interface OutlierState {
  /** Weighted failures since the last success. */
  readonly failures: number;
  /** Ejections since the last success. */
  readonly ejections: number;
  /** Takes no traffic before this time, unless nobody else is left; 0: never ejected. */
  readonly ejectedUntil: Millis;
}

/** Nothing against it. */
export const HEALTHY: OutlierState = { failures: 0, ejections: 0, ejectedUntil: 0 };

/**
 * Ejection 1 s, 2 s, 4 s, 8 s, 10 s (linkerd's consecutive-failures back-off): when it is over one request
 * decides, since `failures` stays above the threshold until a success. There is no cap on how many
 * may be ejected: when all are, traffic leaves for the next locale, and only if there is none the
 * balancer panics and uses them all.
 * @param weight 0 for a success.
 */
export function afterRequest(state: OutlierState, weight: number, now: Millis): OutlierState {
  if (weight === 0) return state.failures === 0 && state.ejections === 0 ? state : HEALTHY;
  const failures = state.failures + weight;
  // What was sent before the ejection and failed during it tells nothing new.
  if (failures < EJECT_AFTER || now < state.ejectedUntil) return { ...state, failures };
  const ms = Math.min(EJECTION_MAX_MS, EJECTION_BASE_MS * 2 ** Math.min(state.ejections, 16));
  return { failures, ejections: state.ejections + 1, ejectedUntil: now + ms };
}
