import type { Millis } from "#kernel/brand.ts";
import type { Clock, Timer } from "#kernel/clock.ts";
import type { Attempt } from "#proxy/relay/attempt.ts";

/** A second try of a request, which begins when the first one is slow. The wheel would be too coarse for that. */
export class Race {
  /** The second try while both run. */
  rival: Attempt | undefined = undefined;
  readonly #timer: Timer;

  constructor(clock: Clock, delayMs: Millis, onSlow: (now: Millis) => void) {
    this.#timer = clock.after(delayMs, () => onSlow(clock.now()));
  }

  /** One of two has failed, and the other one goes on alone. Undefined: there is none, and will be none. */
  leave(of: Attempt, first: Attempt): Attempt | undefined {
    this.#timer.cancel();
    const { rival } = this;
    this.rival = undefined;
    return of === first ? rival : rival && first;
  }

  /** The first answer has come: the other try, if any, has lost. Returns when the race began. */
  won(by: Attempt, first: Attempt, now: Millis): Millis {
    const loser = this.leave(by, first);
    loser?.lose(now);
    return first.startedAt;
  }
}
