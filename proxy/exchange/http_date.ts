import type { Millis } from "#kernel/brand.ts";
import type { Clock } from "#kernel/clock.ts";
import type { Fields } from "#proxy/exchange/exchange.ts";

/** The time of day as `Date` says it (RFC 9110 §5.6.7): text is made once a second. */
export class HttpDate {
  readonly #clock: Clock;
  #second = Number.NaN;
  #text = "";

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** An answer that says no time gets ours (RFC 9110 §6.6.1). */
  stamp(fields: Fields): void {
    for (let i = 0; i < fields.length; i += 2) if (fields[i] === "date") return;
    fields.push("date", this.#at(this.#clock.wall()));
  }

  #at(wall: Millis): string {
    const second = Math.floor(wall / 1_000);
    if (second !== this.#second) {
      this.#second = second;
      this.#text = new Date(second * 1_000).toUTCString();
    }
    return this.#text;
  }
}
