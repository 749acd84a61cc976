import type { Millis } from "#kernel/brand.ts";

/** How a link is watched. A black hole is noticed after `1.2 × period + timeout × failures` at worst. */
export interface LinkProbePolicy {
  /** From the start of one probe to the start of the next, or to the end of the first if that takes longer. */
  readonly periodMs: Millis;
  readonly timeoutMs: Millis;
  /** Probes in a row that must fail before the link counts as down. */
  readonly failures: number;
}

/** How gateways watch each other, if nothing else is said. */
export const LINK_PROBE: LinkProbePolicy = { periodMs: 500, timeoutMs: 1_000, failures: 2 };

/** Share of a new RTT reading in the smoothed one (RFC 6298 §2 uses 1/8). */
const RTT_GAIN = 1 / 8;

/** What is known of a link. */
export interface LinkState {
  readonly up: boolean;
  /** Smoothed round trip, ms; undefined before the first answer. */
  readonly rttMs: Millis | undefined;
  readonly failuresInRow: number;
}

/** A link is up until shown otherwise: the first requests need not wait for a probe. */
export const NEW_LINK: LinkState = { up: true, rttMs: undefined, failuresInRow: 0 };

/** @param rttMs of the probe that ended; undefined: it failed. */
export function afterProbe(
  state: LinkState,
  rttMs: Millis | undefined,
  policy: LinkProbePolicy,
): LinkState {
  if (rttMs !== undefined) {
    const before = state.up ? state.rttMs : undefined;
    const smoothed = before === undefined ? rttMs : before + RTT_GAIN * (rttMs - before);
    return { up: true, rttMs: smoothed, failuresInRow: 0 };
  }
  const failuresInRow = state.failuresInRow + 1;
  return { up: state.up && failuresInRow < policy.failures, rttMs: state.rttMs, failuresInRow };
}
