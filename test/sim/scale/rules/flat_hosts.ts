import type { Millis } from "#kernel/brand.ts";
import { endpointId, gatewayNumber } from "#test/sim/scale/rule.ts";
import type { Place, Topology } from "#test/sim/scale/topology.ts";

/** What a mesh without levels knows of one place: an endpoint beside it, or the gateway of another cluster. */
export interface Host {
  readonly id: number;
  /** Endpoints behind it. */
  readonly weight: number;
  readonly rttMs: Millis;
  inflight: number;
  /** Failures since the last success. */
  failures: number;
  /** Not used before that time. */
  outUntil: Millis;
  /** How often it was taken out, less one for each interval without that. */
  ejections: number;
  /** In this interval. */
  requests: number;
  errors: number;
  level: Level;
}

/** Hosts that are tried before those of the next level. */
export interface Level {
  /** The endpoints beside it, or of other clusters. */
  readonly isLocal: boolean;
  /** Its clusters, each as often as it has endpoints: turns and draws are weighted by that. */
  readonly slots: readonly number[];
  /** Its hosts: endpoints beside it, or gateways. */
  readonly total: number;
  /** Of them, out now. */
  ejected: number;
  /** Where round robin is. */
  turn: number;
}

/**
 * All clusters that run the service, as one gateway knows them in a flat mesh: the rules that we are compared with
 * have it better than the tree, for they reach every other gateway directly and on the shortest way.
 */
export class FlatHosts {
  readonly place: Place;
  readonly #topology: Topology;
  readonly #hosts = new Map<number, Host>();

  constructor(topology: Topology, place: Place) {
    this.#topology = topology;
    this.place = place;
  }

  /** Endpoints beside it, as a level of their own. */
  local(): Level {
    const { endpoints } = this.place.pool;
    const slots = Array.from({ length: endpoints }, (_, i) => i);
    return { isLocal: true, slots, total: endpoints, ejected: 0, turn: 0 };
  }

  level(clusters: readonly number[]): Level {
    const slots = slotsOf(this.#topology, clusters);
    return { isLocal: false, slots, total: clusters.length, ejected: 0, turn: 0 };
  }

  /** Its siblings and its region; of a region or the core: those directly above and below. */
  near(): number[] {
    const { parent, children } = this.place;
    const around = parent === undefined ? [] : [parent, ...parent.children];
    return [...around, ...children]
      .filter(({ id, pool }) => id !== this.place.id && pool.endpoints > 0)
      .map(({ id }) => id);
  }

  /** The host at the `n`-th slot of a level. */
  at(level: Level, n: number): Host {
    const slot = level.slots[n]!;
    const id = level.isLocal ? endpointId(this.place.id, slot) : gatewayNumber(slot);
    const known = this.#hosts.get(id);
    if (known !== undefined) return known;
    const cluster = Math.floor(id / 64);
    const isLocal = cluster === this.place.id;
    const host: Host = {
      id,
      weight: isLocal ? 1 : this.#topology.places[cluster]!.pool.endpoints,
      rttMs: this.#topology.rttMs(this.place.id, cluster),
      ...{ inflight: 0, failures: 0, outUntil: 0, ejections: 0, requests: 0, errors: 0 },
      level,
    };
    this.#hosts.set(id, host);
    return host;
  }

  /** Those that were ever asked. */
  used(): Iterable<Host> {
    return this.#hosts.values();
  }
}

/** Longer lists are one for all gateways that know the same: a mesh of thousands is not written out for each. */
const SHARED_FROM = 100;
const shared = new Map<string, readonly number[]>();

function slotsOf(topology: Topology, clusters: readonly number[]): readonly number[] {
  const key = clusters.length < SHARED_FROM ? "" : clusters.join();
  const known = shared.get(key);
  if (known !== undefined) return known;
  const slots = clusters.flatMap((id) =>
    Array.from({ length: topology.places[id]!.pool.endpoints }, () => id),
  );
  // Taken in turns: the endpoints of one cluster are spread over the round.
  const spread = slots.map((id, i) => ({ id, at: (i * 0.618_034) % 1 }));
  const mixed = spread.sort((a, b) => a.at - b.at).map(({ id }) => id);
  if (key !== "") shared.set(key, mixed);
  return mixed;
}

const serving = new WeakMap<Topology, readonly number[]>();

/** Every cluster that runs the service. */
export function servingIn(topology: Topology): readonly number[] {
  const known = serving.get(topology);
  if (known !== undefined) return known;
  const all = topology.places.filter(({ pool }) => pool.endpoints > 0).map(({ id }) => id);
  serving.set(topology, all);
  return all;
}
