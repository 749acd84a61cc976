import type { Millis } from "#kernel/brand.ts";

/** A pending callback. Cancelling twice, or after it fired, does nothing. */
export interface Timer {
  cancel(): void;
}

/** The only source of time. Decisions take `now` as a value; only effects hold a `Clock`. */
export interface Clock {
  /** Monotonic milliseconds from an arbitrary origin: for durations, leases, deadlines. */
  now(): Millis;
  /** Milliseconds since the Unix epoch: for certificates and text meant for people. */
  wall(): Millis;
  /** Calls `fn` once, `delayMs` from now. */
  after(delayMs: Millis, fn: () => void): Timer;
  /** Calls `fn` every `periodMs` until cancelled. */
  every(periodMs: Millis, fn: () => void): Timer;
}

// Looked up once: the clock is read several times per request.
const monotonic = performance;

/** The process's real clock. Timers keep the process alive until cancelled. */
export const systemClock: Clock = {
  now: () => monotonic.now(),
  wall: () => Date.now(),
  after(delayMs, fn) {
    const handle = setTimeout(fn, delayMs);
    return { cancel: () => clearTimeout(handle) };
  },
  every(periodMs, fn) {
    const handle = setInterval(fn, periodMs);
    return { cancel: () => clearInterval(handle) };
  },
};

/** Resolves `delayMs` from now. */
export function sleep(clock: Clock, delayMs: Millis): Promise<void> {
  return new Promise((resolve) => {
    clock.after(delayMs, resolve);
  });
}

/** Calls `fn` once, as soon as the event loop has asked the system for events and has passed on all there were. */
export function afterPoll(fn: () => void): void {
  setImmediate(fn);
}
