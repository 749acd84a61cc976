import type { Millis } from "#kernel/brand.ts";
import type { Freshness } from "#model/snapshot.ts";
import type { WaterfallPolicy } from "#model/traffic_policy.ts";
import { CostOrder, type OrderRules } from "#proxy/balance/cost_order.ts";
import { Weights } from "#proxy/balance/weights.ts";

/*
 * The waterfall: fills the cheapest locale up to what it bears, the rest spills to the next. The same
 * inputs at the same times give the same weights in every worker; docs/routing/waterfall.md argues for the numbers.
 */

/** How often the weights are looked at, if nothing has happened. */
export const PERIOD_MS: Millis = 100;

export interface WaterfallRules extends OrderRules {
  /** Time in which all traffic may move from one locale to another. */
  readonly rampMs: Millis;
}

/** Of a service that nothing is said of. */
export const WATERFALL_DEFAULTS: WaterfallRules = {
  deadBandShare: 0.25,
  deadBandMs: 5,
  dwellMs: 1_000,
  rampMs: 1_000,
};

/** What a policy says, and the defaults for the rest. */
export function waterfallRules(policy: WaterfallPolicy | undefined): WaterfallRules {
  if (policy === undefined) return WATERFALL_DEFAULTS;
  const {
    deadBandShare = WATERFALL_DEFAULTS.deadBandShare,
    deadBandMs = WATERFALL_DEFAULTS.deadBandMs,
    dwellMs = WATERFALL_DEFAULTS.dwellMs,
    rampMs = WATERFALL_DEFAULTS.rampMs,
  } = policy;
  return { deadBandShare, deadBandMs, dwellMs, rampMs };
}

/** What being stale adds to a cost: factor and ms. */
const STALE_FACTOR = 1.5;
const STALE_MS: Millis = 10;

/** A cost as it counts: what is only known from some time ago has to be clearly better. */
export function agedCost(cost: Millis, freshness: Freshness): Millis {
  return freshness === "fresh" ? cost : cost * STALE_FACTOR + STALE_MS;
}

/** Nothing can be sent there, or may. */
export const OUT = 0;
/** Used while there is nobody better: its facts are so old that it may be gone. */
export const LAST_RESORT = 1;
export const READY = 2;

const ANY_PART = -1;

/** A share of all requests that is to be served in some locales. */
export interface WaterfallPart {
  /** 0 to 1; all parts together 1. */
  readonly share: number;
  /** By locale; not 0: it can serve this part. */
  readonly members: Uint8Array;
}

export class Waterfall {
  /** Locales. */
  readonly size: number;
  // What goes in; whoever owns it writes here before `turn`.
  /** Expected response time through each locale, ms, price included. */
  readonly cost: Float64Array;
  /** Concurrent requests that each bears; Infinity: no limit is known. */
  readonly bears: Float64Array;
  /** OUT, LAST_RESORT or READY. */
  readonly standing: Uint8Array;
  /** Not 0: after all others in the order. */
  readonly last: Uint8Array;
  readonly home: number;
  readonly order: CostOrder;
  readonly #rules: WaterfallRules;
  readonly #parts: readonly WaterfallPart[];
  readonly #target: Float64Array;
  /** What each locale has left while others are filled. */
  readonly #room: Float64Array;
  /** In force, and the one to be written next: what was handed out stays as it is for a period more. */
  #weights: Weights;
  #next: Weights;
  /** The least standing that is good enough. */
  #enough = READY;
  #at: Millis = 0;
  /** Nothing to come from, or an operator wants it now. */
  #atOnce = true;

  /** @param home the local one; -1: there is none. @param parts none: all requests may go to all locales. */
  constructor(
    size: number,
    home: number,
    rules: WaterfallRules = WATERFALL_DEFAULTS,
    parts: readonly WaterfallPart[] = [],
  ) {
    this.size = size;
    this.home = home;
    this.cost = new Float64Array(size);
    this.bears = new Float64Array(size);
    this.standing = new Uint8Array(size);
    this.last = new Uint8Array(size);
    this.order = new CostOrder(size);
    this.#rules = rules;
    this.#parts = parts;
    const slots = size * (parts.length + 1);
    this.#target = new Float64Array(slots);
    this.#room = new Float64Array(size);
    this.#weights = new Weights(slots);
    this.#next = new Weights(slots);
  }

  get weights(): Weights {
    return this.#weights;
  }

  /**
   * Goes on from where an earlier one was, whose inputs are to be set already. Where the parts are others,
   * an operator has said so, and the next turn obeys at once.
   * @param known the index there of each locale here; -1: it is new.
   */
  takeOver(before: Waterfall, known: Int32Array, now: Millis): void {
    this.order.takeOver(before.order, known, this, now);
    this.#at = before.#at;
    this.#atOnce = before.#atOnce || !sameParts(this.#parts, before.#parts, known);
    if (this.#atOnce) return;
    const { shares } = this.#weights;
    for (let part = 0; part <= this.#parts.length; part++) {
      known.forEach((old, i) => {
        if (old < 0) return;
        shares[part * this.size + i] = before.#weights.shares[part * before.size + old]!;
      });
    }
    this.#weights.seal();
  }

  /**
   * The weights from `now` on. @param demand concurrent requests to be placed, by class (`PRIORITIES`): those of
   * the last class are the first that nobody bears.
   */
  turn(demand: Float64Array, now: Millis): Weights {
    this.order.follow(this, this.#rules, now);
    const next = this.#next;
    this.#enough = this.#leastStanding();
    const left = this.#fill(demand);
    this.#ramp(next.shares, this.#atOnce ? Number.POSITIVE_INFINITY : now - this.#at);
    next.seal();
    shedByClass(demand, left, next.shed);
    this.#next = this.#weights;
    this.#weights = next;
    this.#atOnce = false;
    this.#at = now;
    return next;
  }

  /** Whether weight may lie on a locale now. */
  takes(locale: number): boolean {
    return this.standing[locale]! >= this.#enough && this.standing[locale] !== OUT;
  }

  #leastStanding(): number {
    let best = OUT;
    for (let i = 0; i < this.size && best < READY; i++) {
      if (this.standing[i]! > best) best = this.standing[i]!;
    }
    return best;
  }

  /** Writes the target; gives what nobody bears, in concurrent requests. */
  #fill(demand: Float64Array): number {
    const target = this.#target.fill(0);
    this.#room.set(this.bears);
    const wanted = wantedOf(demand);
    const rest = this.#parts.length;
    let left = rest === 0 ? wanted : 0;
    for (let part = 0; part < rest; part++) {
      left += this.#pour(part, wanted * this.#parts[part]!.share);
    }
    // What one part cannot take goes to the others, and what none can to whoever is left.
    if (rest > 0) left = this.#pour(ANY_PART, left);
    left = this.#pour(rest, left);
    const placed = wanted - left;
    if (placed <= 0) target.fill(0);
    else for (let slot = 0; slot < target.length; slot++) target[slot]! /= placed;
    return left;
  }

  /** Puts `amount` into the locales of a part, the cheapest first. Gives what is left. */
  #pour(part: number, amount: number): number {
    const { ranked } = this.order;
    const members = this.#parts[part]?.members;
    let left = amount;
    for (let rank = 0; rank < ranked.length && left > 0; rank++) {
      const i = ranked[rank]!;
      if (!this.takes(i) || (members !== undefined && members[i] === 0)) continue;
      const into = part === ANY_PART ? this.partOf(i) : part;
      if (into < 0) continue;
      const taken = Math.min(left, this.#room[i]!);
      this.#room[i]! -= taken;
      this.#target[into * this.size + i]! += taken;
      left -= taken;
    }
    return left;
  }

  /** The first part that a locale can serve; -1: none. */
  partOf(locale: number): number {
    for (let part = 0; part < this.#parts.length; part++) {
      if (this.#parts[part]!.members[locale] !== 0) return part;
    }
    return -1;
  }

  /**
   * Moves from the weights in force towards the target by at most the ramp. What lay on a locale that
   * takes nothing any more moves at once: waiting would fail requests.
   */
  #ramp(into: Float64Array, elapsedMs: Millis): void {
    const before = this.#weights.shares;
    const target = this.#target;
    let kept = 0;
    for (let slot = 0; slot < into.length; slot++) {
      const share = this.#mayKeep(slot % this.size) ? before[slot]! : 0;
      into[slot] = share;
      kept += share;
    }
    const lost = Math.max(0, 1 - kept);
    let distance = 0;
    for (let slot = 0; slot < into.length; slot++) {
      into[slot]! += lost * target[slot]!;
      distance += Math.max(0, target[slot]! - into[slot]!);
    }
    const step = elapsedMs / this.#rules.rampMs;
    if (distance <= step || kept === 0) {
      into.set(target);
      return;
    }
    const moved = step / distance;
    for (let slot = 0; slot < into.length; slot++) {
      into[slot]! += (target[slot]! - into[slot]!) * moved;
    }
  }

  #mayKeep(locale: number): boolean {
    return this.takes(locale) && this.bears[locale]! > 0;
  }
}

function sameParts(
  parts: readonly WaterfallPart[],
  before: readonly WaterfallPart[],
  known: Int32Array,
): boolean {
  if (parts.length !== before.length) return false;
  return parts.every((part, p) => {
    const other = before[p]!;
    return (
      part.share === other.share &&
      known.every((old, i) => old < 0 || part.members[i] === other.members[old])
    );
  });
}

/** One request at least: an idle service still needs to know where the next one goes. */
function wantedOf(demand: Float64Array): number {
  return Math.max(1, demand[0]! + demand[1]! + demand[2]!);
}

/** Serves the first class first; `left` is what is missing then, of those that come after. */
function shedByClass(demand: Float64Array, left: number, into: Float64Array): void {
  const total = demand[0]! + demand[1]! + demand[2]!;
  const unit = total > 0 ? wantedOf(demand) / total : 0;
  let placed = wantedOf(demand) - left;
  for (let at = 0; at < into.length; at++) {
    const wanted = demand[at]! * unit;
    const served = Math.min(wanted, placed);
    placed -= served;
    // Of a class that has no requests: what its first one would meet.
    if (left <= 0) into[at] = 0;
    else into[at] = wanted > 0 ? 1 - served / wanted : placed > 0 ? 0 : 1;
  }
}
