import type { Millis } from "#kernel/brand.ts";

/** How long nothing was heard of a lost way until it may be lost anew. */
const FORGET_MS: Millis = 10_000;
/** Ways that are remembered; more are lost at once only where a whole snapshot has gone. */
const WAYS_MAX = 1_024;
/** Longer than who waits for room takes until he looks again. */
const CROWDED_MS: Millis = 500;

interface Loss {
  /** When it was noticed first … */
  readonly firstAt: Millis;
  /** … and last. */
  lastAt: Millis;
}

/**
 * The ways to endpoints that have been lost, and since when. What was under way when a link, a gateway or an
 * endpoint went all fails at once, and leaves one try for another: that adds load to nobody, and no budget could pay
 * for it. What is sent there later knew what to expect; where everything is dead such tries would be without end.
 */
export class LostWays<Way extends object> {
  readonly #lost = new Map<Way, Loss>();
  #crowdedUntil: Millis = 0;

  /**
   * A try that began at `startedAt` found its way lost.
   * @returns true if nobody could know that when it began.
   */
  lose(way: Way, startedAt: Millis, now: Millis): boolean {
    const known = this.#lost.get(way);
    if (known !== undefined && now - known.lastAt < FORGET_MS) {
      known.lastAt = now;
      return startedAt <= known.firstAt;
    }
    if (this.#lost.size >= WAYS_MAX) this.#lost.clear();
    this.#lost.set(way, { firstAt: now, lastAt: now });
    return true;
  }

  /** Somebody whose way was lost finds no room elsewhere, and waits. */
  crowd(now: Millis): void {
    this.#crowdedUntil = now + CROWDED_MS;
  }

  /** Somebody did a moment ago: that there is no room is no overload, and will soon be over. */
  isCrowded(now: Millis): boolean {
    return now < this.#crowdedUntil;
  }

  /** It has been found again. */
  find(way: Way): void {
    if (this.#lost.size > 0) this.#lost.delete(way);
  }
}
