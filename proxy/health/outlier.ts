import type { Millis } from "#kernel/brand.ts";

/** A connection that cannot be made weighs more than an answer that says 500. */
export const CONNECT_FAILURE_WEIGHT = 2;

/** When failures in a row eject, and for how long. */
export interface EjectionRules {
  /** Weighted failures in a row that eject; Infinity: none do. */
  readonly after: number;
  readonly baseMs: Millis;
  readonly maxMs: Millis;
}

/** So long after an ejection the next one is a first one. Who comes and goes is out for longer each time. */
const CALM_MS: Millis = 30_000;

/** What holds where a policy says nothing. Failures in a row: as Envoy's consecutive_5xx. */
export const EJECTION: EjectionRules = { after: 5, baseMs: 1_000, maxMs: 10_000 };

/** How an endpoint's last requests went. */
export interface OutlierState {
  /** Weighted failures since the last success. */
  readonly failures: number;
  /** Ejections without a calm time between them. */
  readonly ejections: number;
  /** Takes no traffic before this time, unless nobody else is left; 0: never ejected. */
  readonly ejectedUntil: Millis;
}

/** Nothing against it. */
export const HEALTHY: OutlierState = { failures: 0, ejections: 0, ejectedUntil: 0 };

/**
 * Ejection 1 s, 2 s, 4 s, 8 s, 10 s (linkerd's consecutive-failures back-off): when it is over one request
 * decides, since `failures` stays above the threshold until a success.
 * @param weight 0 for a success.
 * @param jitter 0 to 1: what of an ejection's last fifth is left out.
 */
export function afterRequest(
  state: OutlierState,
  weight: number,
  now: Millis,
  rules: EjectionRules = EJECTION,
  jitter = 0,
): OutlierState {
  if (weight === 0) {
    if (state.failures === 0 && state.ejections === 0) return state;
    if (state.ejections === 0 || now - state.ejectedUntil >= CALM_MS) return HEALTHY;
    return state.failures === 0 ? state : { ...state, failures: 0 };
  }
  const failures = state.failures + weight;
  // What was sent before the ejection and failed during it tells nothing new.
  if (failures < rules.after || now < state.ejectedUntil) return { ...state, failures };
  const ms = ejectionMs(rules, state.ejections, jitter);
  return { failures, ejections: state.ejections + 1, ejectedUntil: now + ms };
}

/** @param before ejections that there were already. @param jitter as `afterRequest` has it. */
export function ejectionMs(
  { baseMs, maxMs }: Pick<EjectionRules, "baseMs" | "maxMs">,
  before: number,
  jitter: number,
): Millis {
  const ms = Math.min(maxMs, baseMs * 2 ** Math.min(before, 16));
  return ms * (1 - JITTER * jitter);
}

/** Part of an ejection by which many workers and proxies come back at different times. Never longer than said. */
const JITTER = 0.2;
