import type { Millis } from "#kernel/brand.ts";
import type { Priority } from "#model/traffic_policy.ts";

/** Share of what a place bears at which `sheddable` stops, where others want it too. */
const SHEDDABLE_SHARE = 0.8;
/** How rarely a critical request may find no room: log of 10⁻⁶. */
const LOSS = Math.log(1e-6);
/** Room kept for critical requests is never more than this share, or than two places: the rest is lent. */
const RESERVE_SHARE = 0.08;
/** Critical requests may overdraw by no more than this share. */
const LOAN_SHARE = 0.25;
/** Requests that may wait where all is full, in roots of what it bears; two at least. */
const QUEUE_ROOTS = 2;
/** Requests over which shares of classes are averaged. */
const AVERAGED = 128;
/** So long after a request of a class something is kept for the next. */
const SEEN_MS: Millis = 60_000;

/**
 * Which classes of requests still have room where many run: trunk reservation. Room that is kept free for
 * critical requests follows their share of what is admitted: if one in five that come is critical, `r` free
 * places are all taken with a probability of 0.2^r, since five leave for each that comes. Where that many
 * would cost more than a twelfth of the place, critical requests may overdraw instead while the others leave.
 * Nothing is kept for a class that has not been seen for a minute.
 */
export class ClassRoom {
  #admitted = 0;
  /** Of requests admitted lately, the critical ones. */
  #critical = 0;
  #criticalAt: Millis = Number.NEGATIVE_INFINITY;
  /** The last request that was not sheddable. */
  #wantedAt: Millis = Number.NEGATIVE_INFINITY;

  /** A request is admitted; or a critical one is not, which is demand just as well. */
  took(priority: Priority, now: Millis): void {
    if (this.#admitted < AVERAGED) this.#admitted++;
    const isCritical = priority === "critical";
    this.#critical += ((isCritical ? 1 : 0) - this.#critical) / this.#admitted;
    if (isCritical) this.#criticalAt = now;
    if (priority !== "sheddable") this.#wantedAt = now;
  }

  /**
   * Whether one more request of a class may go where `inflight` run and `bears` may.
   * What a class may do, those above it may too.
   */
  hasRoom(inflight: number, bears: number, priority: Priority, now: Millis): boolean {
    return inflight < this.ceiling(bears, priority, now);
  }

  /**
   * The same where every place is full. Room is an average: a place of 12 that is 82 % busy would turn 11 % away by
   * chance (Erlang's loss formula), and a few that wait for a moment, two roots of what it bears, spare it that.
   * Critical requests find room beyond, as much as they need. Sheddable ones do not wait.
   */
  queueCeiling(bears: number, priority: Priority, now: Millis): number {
    if (priority === "sheddable" || bears <= 0) return this.ceiling(bears, priority, now);
    const ceiling = bears + Math.max(2, QUEUE_ROOTS * Math.sqrt(bears));
    if (priority === "default" || now - this.#criticalAt >= SEEN_MS) return ceiling;
    const wanted = LOSS / Math.log(Math.min(0.999, this.#critical));
    // Where all is critical there is nobody to leave in their place.
    return ceiling + Math.min(wanted, 1.5 * (1 - this.#critical) * bears + 2);
  }

  /** Requests that run, of all classes, below which one of `priority` is admitted. */
  ceiling(bears: number, priority: Priority, now: Millis): number {
    if (bears === Number.POSITIVE_INFINITY) return bears;
    const seen = now - this.#criticalAt < SEEN_MS;
    const wanted = seen ? Math.max(1, LOSS / Math.log(Math.min(0.999, this.#critical))) : 0;
    const reserve = Math.min(wanted, Math.max(2, bears * RESERVE_SHARE), bears / 2);
    switch (priority) {
      case "critical": {
        // What is lent comes back as others leave: there must be others.
        const others = ((1 - this.#critical) * bears) / 2;
        return bears + Math.min(wanted - reserve, bears * LOAN_SHARE, others);
      }
      case "default":
        return bears - reserve;
      case "sheddable": {
        const isWanted = now - this.#wantedAt < SEEN_MS;
        return Math.min(bears - reserve, isWanted ? bears * SHEDDABLE_SHARE : bears);
      }
      default:
        return priority satisfies never;
    }
  }
}
