import type { Millis } from "#kernel/brand.ts";
import { afterPoll, type Clock } from "#kernel/clock.ts";

/** A turn of the event loop this short leaves next to no time in which a client can come unseen. */
const QUIET_MS: Millis = 0.05;
/** Each millisecond of waiting makes a turn that is so much longer acceptable. */
const PATIENCE = 0.02;
/** Then it is closed whatever comes. */
const WAIT_MAX_MS: Millis = 250;

/**
 * Calls `close` right after a short turn of the event loop in which nobody came. Closing a listening
 * socket resets what waits in its queue, and the queue was empty a moment ago.
 * @param accepted how many clients have come so far.
 */
export function closeWhenQuiet(clock: Clock, accepted: () => number, close: () => void): void {
  const begun = clock.now();
  const look = (seen: number, at: Millis): void =>
    afterPoll(() => {
      const now = clock.now();
      const waited = now - begun;
      const quiet = accepted() === seen && now - at < QUIET_MS + waited * PATIENCE;
      if (quiet || waited > WAIT_MAX_MS) close();
      else look(accepted(), now);
    });
  look(accepted(), begun);
}
