/**
 * Calls `fn` once the event loop has looked at every socket: what had come by now has been read then. No
 * time passes, so this is no timer.
 */
export function afterNextPoll(fn: () => void): void {
  setImmediate(() => setImmediate(fn));
}
