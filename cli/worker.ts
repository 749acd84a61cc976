import { systemClock } from "#kernel/clock.ts";
import { jsonLogger } from "#kernel/log.ts";
import { systemRng } from "#kernel/rng.ts";
import { Worker } from "#proxy/app/worker.ts";
import type { ToWorker } from "#proxy/app/worker_messages.ts";

/** Requests may take this long to end when the primary has died. */
const ORPHAN_DRAIN_MS = 30_000;

// The program of one worker process; `proxy/app/worker_pool.ts` starts it.
const worker = new Worker({
  clock: systemClock,
  rng: systemRng(),
  log: jsonLogger("info", { worker: process.pid }),
  // The primary may have been killed a moment ago: what cannot be said to it any more ends nobody.
  send: (message) => {
    if (process.connected) process.send?.(message, undefined, undefined, () => {});
  },
  onDrained: () => process.exit(0),
});
process.on("message", (message) => worker.hear(message as ToWorker));
process.on("disconnect", () => void worker.drain(ORPHAN_DRAIN_MS));
// The primary decides: a Ctrl-C reaches the whole process group.
process.on("SIGINT", () => {});
process.on("SIGTERM", () => {});
process.on("SIGHUP", () => {});
