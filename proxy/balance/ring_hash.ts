import type { Millis } from "#kernel/brand.ts";
import type { Rng } from "#kernel/rng.ts";
import type { EndpointPicker } from "#proxy/balance/endpoint_picker.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import { mix32 } from "#proxy/balance/hash.ts";
import { firstAllowed, isAllowed, type PickAsk } from "#proxy/balance/reach.ts";

/** Points of an endpoint of mean weight: shares spread by a twelfth (1 / √160). */
const POINTS_MEAN = 160;
/** Fewer on a ring would be coarse (gRFC A42 and Envoy: 1,024), more take too long to sort. */
const RING_MIN = 1_024;
const RING_MAX = 262_144;
/** Points that are looked at before the endpoints are gone through one by one. */
const PROBES_MAX = 128;

/**
 * Ketama's consistent hashing (D. Karger et al. 1997): endpoints have points on a ring, as many as their weight says,
 * and a key belongs to the next one. Whose endpoint is out or gone moves on along the ring, and nobody else's.
 */
export class RingHashPicker implements EndpointPicker {
  readonly #endpoints: readonly EndpointState[];
  /** Made by the first request. */
  #ring: Ring | undefined = undefined;

  constructor(endpoints: readonly EndpointState[]) {
    this.#endpoints = endpoints;
  }

  pick(ask: PickAsk, now: Millis, rng: Rng): EndpointState | undefined {
    const endpoints = this.#endpoints;
    if (endpoints.length === 0) return undefined;
    this.#ring ??= ringOf(endpoints);
    const { points, owners } = this.#ring;
    const hash = ask.hash ?? rng.below(0x1_0000_0000);
    let at = placeOf(points, hash);
    for (let probe = 0; probe < PROBES_MAX; probe++) {
      const endpoint = endpoints[owners[at]!]!;
      if (isAllowed(endpoint, ask, now)) return endpoint;
      at = at + 1 === points.length ? 0 : at + 1;
    }
    return endpoints[firstAllowed(endpoints, ask, now, hash % endpoints.length)];
  }
}

interface Ring {
  /** Hashes, ascending. */
  readonly points: Uint32Array;
  /** Index of the endpoint of each. */
  readonly owners: Uint32Array;
}

/** Index of the first point at or after `hash`, going round. */
function placeOf(points: Uint32Array, hash: number): number {
  let low = 0;
  let high = points.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (points[middle]! < hash) low = middle + 1;
    else high = middle;
  }
  return low === points.length ? 0 : low;
}

function ringOf(endpoints: readonly EndpointState[]): Ring {
  const count = endpoints.length;
  let sum = 0;
  for (const { endpoint } of endpoints) sum += endpoint.weight;
  const mean = pointsOfMean(count);
  const counts = endpoints.map(({ endpoint }) =>
    Math.max(1, Math.round((endpoint.weight * count * mean) / sum)),
  );
  // Hash and owner in one number each (32 + 20 bits): sorted by the engine, without a function.
  const keyed = new Float64Array(counts.reduce((a, b) => a + b, 0));
  let filled = 0;
  for (let i = 0; i < count; i++) {
    const { hash } = endpoints[i]!;
    for (let point = 1; point <= counts[i]!; point++) {
      keyed[filled++] = mix32(hash + Math.imul(point, 0x9e3779b9)) * OWNERS + i;
    }
  }
  keyed.sort();
  const points = new Uint32Array(filled);
  const owners = new Uint32Array(filled);
  for (let at = 0; at < filled; at++) {
    const point = Math.floor(keyed[at]! / OWNERS);
    points[at] = point;
    owners[at] = keyed[at]! - point * OWNERS;
  }
  return { points, owners };
}

const OWNERS = 2 ** 20;

/** Halved or doubled as often as it takes: one endpoint more or less seldom changes how many points the others have. */
function pointsOfMean(count: number): number {
  let points = POINTS_MEAN;
  while (points * count < RING_MIN) points *= 2;
  while (points > 1 && points * count > RING_MAX) points /= 2;
  return Math.max(1, Math.round(points));
}
