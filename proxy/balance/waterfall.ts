import type { Millis } from "#kernel/brand.ts";
import type { Freshness } from "#model/snapshot.ts";

/*
 * The waterfall: fills the cheapest locale up to what it can bear, the rest spills to the
 * next. Pure: the same inputs give the same weights in every worker.
 */

/** A locale overtakes another only if it is cheaper by this share … */
export const DEAD_BAND_SHARE = 0.25;
/** … and by this much, ms. */
export const DEAD_BAND_MS = 5;
/** How long an order stands before it may change again, unless a locale drops out. */
export const DWELL_MS = 1_000;
/** How often the weights are looked at. */
export const PERIOD_MS = 100;
/** Share of the traffic that may move per period: a full change takes a second. */
const RAMP = 0.1;
/** What being stale adds to a cost: factor and ms. */
const STALE_FACTOR = 1.5;
const STALE_MS = 10;

export interface WaterfallInput {
  /** Expected response time through it, ms, price included. */
  readonly cost: Millis;
  /** Concurrent requests it can bear; Infinity if not declared. */
  readonly capacity: number;
  /** False: nothing can be sent there now. */
  readonly usable: boolean;
  readonly freshness: Freshness;
  /** The local cluster: it wins back its place as soon as it is cheaper at all. */
  readonly home: boolean;
}

export interface WaterfallState {
  /** Indexes of the locales, cheapest first. */
  readonly order: readonly number[];
  /** When `order` last changed. */
  readonly orderAt: Millis;
  /** Share of new requests per locale; sums to 1, or is all 0 if none is usable. */
  readonly weights: readonly number[];
  /** Share of requests that nobody can bear, 0 to 1. */
  readonly shed: number;
  readonly at: Millis;
}

/**
 * The state after `now`. @param demand concurrent requests to be placed.
 * @param before undefined at the first time, or when the set of locales has changed.
 */
export function waterfall(
  inputs: readonly WaterfallInput[],
  demand: number,
  before: WaterfallState | undefined,
  now: Millis,
): WaterfallState {
  const usable = usableOnes(inputs);
  const order = nextOrder(inputs, before, now);
  const orderAt = before !== undefined && sameOrder(order, before.order) ? before.orderAt : now;
  const { shares, shed } = fill(inputs, usable, order, demand);
  const elapsed = before === undefined ? 0 : now - before.at;
  const weights = before === undefined ? shares : ramp(before.weights, shares, usable, elapsed);
  return { order, orderAt, weights, shed, at: now };
}

/** Suspect locales count only where nothing better is usable. */
function usableOnes(inputs: readonly WaterfallInput[]): boolean[] {
  const better = inputs.some((input) => input.usable && input.freshness !== "suspect");
  return inputs.map((input) => input.usable && (!better || input.freshness !== "suspect"));
}

function costOf(input: WaterfallInput): Millis {
  return input.freshness === "fresh" ? input.cost : input.cost * STALE_FACTOR + STALE_MS;
}

/** Leaving home takes a clear advantage, coming home any: that is hysteresis enough. */
function overtakes(a: WaterfallInput, b: WaterfallInput): boolean {
  const costA = costOf(a);
  const costB = costOf(b);
  if (a.home) return costA < costB;
  return costA < costB * (1 - DEAD_BAND_SHARE) && costB - costA > DEAD_BAND_MS;
}

function nextOrder(
  inputs: readonly WaterfallInput[],
  before: WaterfallState | undefined,
  now: Millis,
): readonly number[] {
  if (before === undefined) {
    return inputs.map((_, i) => i).sort((a, b) => costOf(inputs[a]!) - costOf(inputs[b]!) || a - b);
  }
  // The first order came from seeds alone: it need not dwell.
  if (now - before.orderAt < DWELL_MS) return before.order;
  const order = [...before.order];
  // Insertion sort by "overtakes": neighbours inside the dead band keep their places.
  for (let i = 1; i < order.length; i++) {
    const moving = order[i]!;
    let to = i;
    while (to > 0 && overtakes(inputs[moving]!, inputs[order[to - 1]!]!)) {
      order[to] = order[to - 1]!;
      to--;
    }
    order[to] = moving;
  }
  return order;
}

function sameOrder(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}

function fill(
  inputs: readonly WaterfallInput[],
  usable: readonly boolean[],
  order: readonly number[],
  demand: number,
): { shares: number[]; shed: number } {
  const shares = new Array<number>(inputs.length).fill(0);
  // One request at least: an idle service still needs to know where the next one goes.
  const wanted = Math.max(1, demand);
  let left = wanted;
  for (const i of order) {
    if (!usable[i] || left <= 0) continue;
    const taken = Math.min(left, inputs[i]!.capacity);
    shares[i] = taken;
    left -= taken;
  }
  const placed = wanted - left;
  if (placed <= 0) return { shares: shares.fill(0), shed: 0 };
  return { shares: shares.map((share) => share / placed), shed: left / wanted };
}

/**
 * Moves from `before` towards `target` by at most the ramp. What lay on a locale that is not usable any
 * more moves at once: waiting would fail requests.
 */
function ramp(
  before: readonly number[],
  target: readonly number[],
  usable: readonly boolean[],
  elapsedMs: Millis,
): number[] {
  const kept = before.map((weight, i) => (usable[i] ? weight : 0));
  const lost = Math.max(0, 1 - kept.reduce((sum, weight) => sum + weight, 0));
  const base = kept.map((weight, i) => weight + lost * target[i]!);
  const distance = base.reduce((sum, weight, i) => sum + Math.max(0, target[i]! - weight), 0);
  const step = (RAMP * elapsedMs) / PERIOD_MS;
  if (distance <= step || distance === 0) return [...target];
  const moved = step / distance;
  return base.map((weight, i) => weight + (target[i]! - weight) * moved);
}
