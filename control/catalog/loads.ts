import type { Summary } from "#model/summary.ts";

/** Of its capacity, what a place offers others even when its own clients use it all: the next fault may be theirs. */
export const RESERVE_SHARE = 0.1;
/** One step of what is told of loads: less is noise. */
export const STEP = 1.25;

/** Concurrent requests that the places behind a summary can bear; Infinity: nobody has declared a limit. */
export function capacityOf({ healthy, capacity, drained }: Summary): number {
  if (healthy === 0 || drained === true) return 0;
  return capacity ?? Number.POSITIVE_INFINITY;
}

/** What the clients below want and their own places do not bear. */
export function unmetOf(summary: Summary): number {
  return stepUp(Math.max(0, (summary.demand ?? 0) - capacityOf(summary)));
}

/** Concurrent requests that others may bring. Who does not tell offers all that it can bear. */
export function offerOf(summary: Summary): number {
  return Math.min(capacityOf(summary), summary.offer ?? Number.POSITIVE_INFINITY);
}

/** Of `capacity`, what `demand` leaves for others. */
export function leftFor(capacity: number, demand: number): number {
  return Math.max(capacity - demand, RESERVE_SHARE * capacity);
}

/** Three digits, not above `value`; what is less than a hundredth is nothing. */
export function digitsDown(value: number): number {
  if (value === Number.POSITIVE_INFINITY) return value;
  if (!(value >= 0.01)) return 0;
  const scale = 10 ** (2 - Math.floor(Math.log10(value)));
  // What has three digits already keeps them, though decimal fractions round.
  return Math.min(value, Math.floor(value * scale + 1e-9) / scale);
}

/** The next step below. */
export function stepDown(value: number): number {
  if (!Number.isFinite(value) || value < 0.01) return digitsDown(value);
  const below = Math.floor(Math.log(value) / Math.log(STEP));
  const above = stepOf(below + 1);
  return above <= value ? above : stepOf(below);
}

/** The next step above; it is no lower than a hundredth. */
export function stepUp(value: number): number {
  if (!(value > 0)) return 0;
  const below = Math.floor(Math.log(Math.max(value, 0.01)) / Math.log(STEP));
  const least = stepOf(below);
  if (least >= value) return least;
  const next = stepOf(below + 1);
  return next >= value ? next : stepOf(below + 2);
}

/** What is told holds until what is has left its step by a quarter of one. */
const HELD = STEP ** 1.25;

/** The step below, but what was told before while that is no more than what is, and not much less. */
export function heldStep(value: number, before: number | undefined): number {
  return before !== undefined && before <= value && value < before * HELD
    ? before
    : stepDown(value);
}

/** Sums move by less than their parts: what is told of them keeps this much away from them when it moves … */
const ROOM = 0.05;
/** … and moves when it is further away. */
const AWAY = 0.2;

/** Not above `value`, in three digits; what was told before while that is about as much. */
export function heldBelow(value: number, before: number | undefined): number {
  if (before === undefined || !Number.isFinite(value) || value === 0) return digitsDown(value);
  const isHeld = before <= value && before >= (1 - AWAY) * value;
  return isHeld ? before : digitsDown((1 - ROOM) * value);
}

/** Not below `value`; what was told before while that is about as much. */
export function heldAbove(value: number, before: number | undefined): number {
  if (before === undefined || value === 0) return value;
  const isHeld = before >= value && before <= (1 + AWAY) * value;
  return isHeld ? before : Math.max(value, digitsDown((1 + ROOM) * value));
}

function stepOf(power: number): number {
  return digitsDown(STEP ** power);
}
