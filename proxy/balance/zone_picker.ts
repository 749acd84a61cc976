import type { Millis } from "#kernel/brand.ts";
import type { Rng } from "#kernel/rng.ts";
import type { EndpointPicker } from "#proxy/balance/endpoint_picker.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import type { PickAsk } from "#proxy/balance/reach.ts";

/** How often the own zone's part is looked at. */
const PERIOD_MS: Millis = 1_000;
/** Answers of a zone that make its mean one. */
const ANSWERS_MIN = 20;
/** That part goes to other zones, and to the own one, whatever happens: how they do is known only from requests. */
const PROBES = 0.02;
/** Slower than the other zones by this factor, and by this much, the own one has more than it bears … */
const SLOW_FACTOR = 1.25;
const SLOW_MS: Millis = 1;
/** … and below this one, it could have more. */
const FAST_FACTOR = 1.1;
const LESS = 0.8;
const MORE = 0.05;

/**
 * The own zone first, as far as it bears. Envoy compares the zone's part of the demand with its part of the endpoints;
 * one proxy does not know the demand of other zones, so it begins with equal parts (n zones, 1/n of the demand each)
 * and learns the rest from what others' load does to everybody: response times. Where the own zone answers more slowly
 * than the others do by more than a band, a part of its requests goes there instead, until both are alike.
 * Requests in flight would not do: a proxy sees only its own, and there are none where it sends none.
 */
export class ZonePicker implements EndpointPicker {
  readonly #near: Zone;
  readonly #far: Zone;
  /** Part of the requests that the zone's part of the endpoints lets it keep, before response times are known. */
  #bearable = 1;
  /** What response times leave of it. */
  #allowed = 1;
  readonly #zones: number;
  #nextAt: Millis = Number.NEGATIVE_INFINITY;

  /** @param make a picker for some of them. */
  constructor(
    near: readonly EndpointState[],
    far: readonly EndpointState[],
    make: (some: readonly EndpointState[]) => EndpointPicker,
  ) {
    this.#near = new Zone(near, make(near));
    this.#far = new Zone(far, make(far));
    this.#zones = 1 + new Set(far.map(({ endpoint }) => endpoint.zone)).size;
  }

  pick(ask: PickAsk, now: Millis, rng: Rng): EndpointState | undefined {
    if (now >= this.#nextAt) this.#review(now);
    const kept = Math.max(PROBES, Math.min(1 - PROBES, this.#bearable * this.#allowed));
    const isNear = rng.next() < kept;
    const first = isNear ? this.#near : this.#far;
    const second = isNear ? this.#far : this.#near;
    return first.picker.pick(ask, now, rng) ?? second.picker.pick(ask, now, rng);
  }

  #review(now: Millis): void {
    this.#nextAt = now + PERIOD_MS;
    const near = this.#near.wellWeight(now);
    const all = near + this.#far.wellWeight(now);
    this.#bearable = all === 0 ? 1 : Math.min(1, (near / all) * this.#zones);
    if (!this.#near.hasMean || !this.#far.hasMean) return;
    const own = this.#near.takeMean();
    const others = this.#far.takeMean();
    if (own > others * SLOW_FACTOR && own > others + SLOW_MS) this.#allowed *= LESS;
    else if (own < others * FAST_FACTOR) this.#allowed = Math.min(1, this.#allowed + MORE);
  }
}

/** Endpoints of one zone, or of all the others. */
class Zone {
  readonly picker: EndpointPicker;
  readonly #endpoints: readonly EndpointState[];
  #answers: number;
  #waitedMs: Millis;

  constructor(endpoints: readonly EndpointState[], picker: EndpointPicker) {
    this.#endpoints = endpoints;
    this.picker = picker;
    this.#answers = this.#sum("answers");
    this.#waitedMs = this.#sum("waitedMs");
  }

  /** Enough answers since the last mean was taken. */
  get hasMean(): boolean {
    return this.#sum("answers") - this.#answers >= ANSWERS_MIN;
  }

  /** Mean response time since the last one was taken. */
  takeMean(): Millis {
    const answers = this.#sum("answers");
    const waitedMs = this.#sum("waitedMs");
    const mean = (waitedMs - this.#waitedMs) / (answers - this.#answers);
    this.#answers = answers;
    this.#waitedMs = waitedMs;
    return mean;
  }

  wellWeight(now: Millis): number {
    let sum = 0;
    for (const one of this.#endpoints) if (!one.isOut(now)) sum += one.endpoint.weight;
    return sum;
  }

  #sum(what: "answers" | "waitedMs"): number {
    let sum = 0;
    for (const endpoint of this.#endpoints) sum += endpoint[what];
    return sum;
  }
}
