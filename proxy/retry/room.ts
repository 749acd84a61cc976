import type { Millis } from "#kernel/brand.ts";
import type { Rng } from "#kernel/rng.ts";

/** How long a request waits for room after a way was lost. */
export const ROOM_WAIT_MS: Millis = 5_000;
const LOOK_MS: Millis = 100;

/** When it looks again; not all at once. */
export function untilLook(rng: Rng): Millis {
  return LOOK_MS * (0.5 + rng.next());
}
