import type { Millis } from "#kernel/brand.ts";
import type { Rng } from "#kernel/rng.ts";
import type { BalancePolicy } from "#model/traffic_policy.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import { MaglevPicker } from "#proxy/balance/maglev.ts";
import { P2cPicker } from "#proxy/balance/p2c.ts";
import type { PickAsk, Reach } from "#proxy/balance/reach.ts";
import { RingHashPicker } from "#proxy/balance/ring_hash.ts";
import { RoundRobinPicker } from "#proxy/balance/round_robin.ts";
import { SubsetPicker } from "#proxy/balance/subset_picker.ts";
import { ZonePicker } from "#proxy/balance/zone_picker.ts";

/** A way to choose among the endpoints of one locale. Made anew when the set of them or their policy changes. */
export interface EndpointPicker {
  /** Undefined: none is allowed. */
  pick(ask: PickAsk, now: Millis, rng: Rng): EndpointState | undefined;
}

/** Where a picker works. */
export interface PickerPlace {
  /** Failure domain of the proxy; undefined: not told. */
  readonly zone?: string | undefined;
  /** Tells this worker from all others, 32 bits, so that they do not choose in step; undefined: 0. */
  readonly seed?: number | undefined;
}

/**
 * The picker that a service's policy asks for. Gateways of other clusters always have the default: the policy is about
 * endpoints, and the next gateway chooses those by its own.
 * @param endpoints of one locale; the picker is for exactly these.
 * @param previous of the same locale in the snapshot before: it stays, with its tables and turns, where nothing has
 *   changed.
 */
export function makePicker(
  policy: BalancePolicy | undefined,
  endpoints: readonly EndpointState[],
  place: PickerPlace,
  previous?: EndpointPicker,
): EndpointPicker {
  const isOwn = endpoints[0]?.locale.kind === "local";
  const recipe = recipeOf(isOwn ? policy : undefined, place);
  const before = previous instanceof MadePicker ? previous : undefined;
  if (before?.isFor(recipe, endpoints) === true) return before;
  return new MadePicker(recipe, [...endpoints], before === undefined ? 0 : before.generation + 1);
}

/** All that decides which picker it is. */
interface Recipe {
  readonly algorithm: NonNullable<BalancePolicy["algorithm"]>;
  readonly slowStartMs: Millis;
  readonly subsetSize: number;
  /** The proxy's own, where the policy prefers it. */
  readonly zone: string | undefined;
  readonly seed: number;
}

function recipeOf(policy: BalancePolicy | undefined, place: PickerPlace): Recipe {
  return {
    algorithm: policy?.algorithm ?? "PeakEwma",
    slowStartMs: policy?.slowStartMs ?? 0,
    subsetSize: policy?.subsetSize ?? Number.POSITIVE_INFINITY,
    zone: policy?.zoneAware === true ? place.zone : undefined,
    seed: place.seed ?? 0,
  };
}

/** A picker with what it was made of. */
class MadePicker implements EndpointPicker {
  readonly #recipe: Recipe;
  readonly #endpoints: readonly EndpointState[];
  /** Of the endpoints, where they matter. */
  readonly #zones: readonly (string | undefined)[] | undefined;
  readonly #picker: EndpointPicker;
  /** Where to look first: an endpoint that is at its limit is passed over while another one is not. */
  readonly #first: Reach;
  /** How many there were before for the same locale: a new round does not begin where the last one did. */
  readonly generation: number;

  constructor(recipe: Recipe, endpoints: readonly EndpointState[], generation: number) {
    this.#recipe = recipe;
    this.#endpoints = endpoints;
    this.#zones = recipe.zone === undefined ? undefined : endpoints.map(zoneOf);
    this.generation = generation;
    this.#picker = build(recipe, endpoints, generation);
    this.#first = hashes(recipe) ? "slack" : "spare";
  }

  pick(ask: PickAsk, now: Millis, rng: Rng): EndpointState | undefined {
    if (ask.reach === "healthy" && this.#endpoints[0]?.locale.limitsEndpoints === true) {
      BUSY_APART.tried = ask.tried;
      BUSY_APART.hash = ask.hash;
      BUSY_APART.reach = this.#first;
      const found = this.#picker.pick(BUSY_APART, now, rng);
      if (found !== undefined) return found;
    }
    return this.#picker.pick(ask, now, rng);
  }

  isFor(recipe: Recipe, endpoints: readonly EndpointState[]): boolean {
    const same = (key: keyof Recipe): boolean => this.#recipe[key] === recipe[key];
    return (
      endpoints.length === this.#endpoints.length &&
      RECIPE_KEYS.every(same) &&
      endpoints.every((endpoint, i) => endpoint === this.#endpoints[i]) &&
      (this.#zones === undefined || endpoints.every((one, i) => zoneOf(one) === this.#zones![i]))
    );
  }
}

/** The ask of the running pick, but for where it looks. */
const BUSY_APART: { -readonly [K in keyof PickAsk]: PickAsk[K] } = {
  ...{ tried: [], reach: "spare", hash: undefined },
};

function hashes({ algorithm }: Recipe): boolean {
  return algorithm === "Maglev" || algorithm === "RingHash";
}

function zoneOf({ endpoint }: EndpointState): string | undefined {
  return endpoint.zone;
}

const RECIPE_KEYS = ["algorithm", "slowStartMs", "subsetSize", "zone", "seed"] as const;

function build(
  recipe: Recipe,
  endpoints: readonly EndpointState[],
  generation: number,
): EndpointPicker {
  const { algorithm, slowStartMs, subsetSize, zone, seed } = recipe;
  // A key has to lead every worker of every proxy to the same endpoint.
  if (algorithm === "Maglev") return new MaglevPicker(endpoints);
  if (algorithm === "RingHash") return new RingHashPicker(endpoints);
  const simple = (some: readonly EndpointState[]): EndpointPicker =>
    algorithm === "RoundRobin"
      ? new RoundRobinPicker(some, slowStartMs, seed + generation)
      : new P2cPicker(some, { byLatency: algorithm === "PeakEwma", slowStartMs });
  const bounded = (some: readonly EndpointState[]): EndpointPicker =>
    some.length > subsetSize ? new SubsetPicker(some, subsetSize, seed, simple) : simple(some);
  const near = endpoints.filter(({ endpoint }) => zone !== undefined && endpoint.zone === zone);
  if (near.length === 0 || near.length === endpoints.length) return bounded(endpoints);
  const far = endpoints.filter(({ endpoint }) => endpoint.zone !== zone);
  return new ZonePicker(near, far, bounded);
}
