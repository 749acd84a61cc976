import type { Millis } from "#kernel/brand.ts";
import { PRIORITIES, type Priority } from "#model/traffic_policy.ts";

/** Time over which rates are averaged. */
const AVERAGED_MS: Millis = 1_000;
const CLASSES = PRIORITIES.length;

/** Place of a class in `PRIORITIES`. */
export function classOf(priority: Priority | undefined): number {
  return priority === "critical" ? 0 : priority === "sheddable" ? 2 : 1;
}

/** Requests of one service as they come, by class, whether they are served or not. Fixed memory; no clock is read. */
export class Arrivals {
  /** Requests that were turned away for want of room so far, by class. */
  readonly shed = new Float64Array(CLASSES);
  /** Since the last fold: all by class, those that entered the mesh here, those turned away. */
  readonly #counts = new Float64Array(CLASSES + 2);
  /** The same per millisecond. */
  readonly #rates = new Float64Array(CLASSES + 2);
  #at: Millis = 0;
  #ownShare = 1;

  /** A request asks for its first endpoint. @param own it has entered the mesh here. */
  came(at: number, own: boolean): void {
    this.#counts[at]!++;
    if (own) this.#counts[CLASSES]!++;
  }

  turnedAway(at: number): void {
    this.shed[at]!++;
    this.#counts[CLASSES + 1]!++;
  }

  fold(now: Millis): void {
    const elapsed = now - this.#at;
    if (elapsed <= 0) return;
    const gained = -Math.expm1(-elapsed / AVERAGED_MS);
    for (let i = 0; i < this.#rates.length; i++) {
      this.#rates[i]! += (this.#counts[i]! / elapsed - this.#rates[i]!) * gained;
      this.#counts[i] = 0;
    }
    this.#at = now;
    const all = this.#all();
    if (all > 0) this.#ownShare = Math.min(1, this.#rates[CLASSES]! / all);
  }

  /** Of all requests those that entered the mesh here, 0 to 1. */
  get ownShare(): number {
    return this.#ownShare;
  }

  /** Requests per second that entered the mesh here. */
  get ownPerSecond(): number {
    return this.#rates[CLASSES]! * 1_000;
  }

  /**
   * Splits what runs into what clients want, by class: what was turned away would run too.
   * @param running concurrent requests as they were lately.
   */
  demand(running: number, into: Float64Array): void {
    const all = this.#all();
    if (all <= 0) {
      into.fill(0);
      into[1] = running;
      return;
    }
    const served = Math.max(MIN_SERVED, 1 - this.#rates[CLASSES + 1]! / all);
    for (let at = 0; at < CLASSES; at++) into[at] = (running / served) * (this.#rates[at]! / all);
  }

  #all(): number {
    let sum = 0;
    for (let at = 0; at < CLASSES; at++) sum += this.#rates[at]!;
    return sum;
  }
}

/** What is wanted is taken for at most twenty times of what is served: where hardly anything is, nobody can tell. */
const MIN_SERVED = 0.05;
