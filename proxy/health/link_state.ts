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

/** Answers in a row after which it is forgotten that a link was down. */
const CALM_PROBES = 120;
/** Answers in a row that bring back a link that has come and gone, at most. */
const MOST_WANTED = 64;

/** What is known of a link. */
export interface LinkState {
  readonly up: boolean;
  /** Smoothed round trip, ms; undefined before the first answer. */
  readonly rttMs: Millis | undefined;
  readonly failuresInRow: number;
  /** How often it went down without a calm time between. */
  readonly downs: number;
  /** Probes answered in a row. */
  readonly answersInRow: number;
}

/** A link is up until shown otherwise: the first requests need not wait for a probe. */
export const NEW_LINK: LinkState = {
  up: true,
  rttMs: undefined,
  failuresInRow: 0,
  downs: 0,
  answersInRow: 0,
};

/** @param rttMs of the probe that ended; undefined: it failed. */
export function afterProbe(
  state: LinkState,
  rttMs: Millis | undefined,
  policy: LinkProbePolicy,
): LinkState {
  if (rttMs !== undefined) {
    const before = state.up ? state.rttMs : undefined;
    const smoothed = before === undefined ? rttMs : before + RTT_GAIN * (rttMs - before);
    const answersInRow = Math.min(state.answersInRow + 1, CALM_PROBES);
    const up = state.up || answersInRow >= answersWanted(state.downs);
    const downs = up && answersInRow === CALM_PROBES ? 0 : state.downs;
    return { up, rttMs: smoothed, failuresInRow: 0, downs, answersInRow };
  }
  const failuresInRow = state.failuresInRow + 1;
  const up = state.up && failuresInRow < policy.failures;
  const downs = state.up && !up ? state.downs + 1 : state.downs;
  return { up, rttMs: state.rttMs, failuresInRow, downs, answersInRow: 0 };
}

/** Before it is up again: of one that comes and goes four times as many each time. */
function answersWanted(downs: number): number {
  return Math.min(MOST_WANTED, 4 ** (downs - 1));
}
