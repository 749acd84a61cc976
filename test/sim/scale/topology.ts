import { type Rng, seededRng } from "#kernel/rng.ts";
import type { ClusterName, MeshName } from "#model/names.ts";
import { between, lognormal } from "#test/sim/scale/chance.ts";

export const SCALE_MESH = "sim.mesh" as MeshName;

/** What stands in one cluster for the service. */
export interface Pool {
  readonly endpoints: number;
  /** Requests that one endpoint works on at once; more of them wait there. */
  readonly servers: number;
}

/** A tree: one core, `regions`, and `edges` below each. */
export interface Shape {
  readonly regions: number;
  readonly edges: number;
  readonly core: Pool;
  readonly region: Pool;
  readonly edge: Pool;
  /** Requests per second of the clients of one cluster of that tier. */
  readonly rates: { readonly core: number; readonly region: number; readonly edge: number };
  /** Mean service time, ms. */
  readonly serviceMs: number;
  /** How much edges differ from each other: sigma of a lognormal factor of their rates. */
  readonly uneven: number;
  /** Exceptions: what clusters have in place of what their tier has. */
  readonly pools?: ReadonlyMap<number, Pool>;
}

export type Tier = "core" | "region" | "edge";

/** A place in the tree. Its number is its index in `Topology.places`: core, regions, then the edges of each. */
export interface Place {
  readonly id: number;
  readonly name: ClusterName;
  readonly tier: Tier;
  readonly parent: Place | undefined;
  readonly children: Place[];
  /** Number of its region; of the core: -1. */
  readonly region: number;
  readonly pool: Pool;
  readonly rate: number;
  /** Where it stands inside its region: distances between siblings follow from it. */
  readonly x: number;
  readonly y: number;
  /** Round trip to its parent, ms. */
  readonly upMs: number;
}

/** The tree and its distances. */
export class Topology {
  readonly places: readonly Place[];
  readonly shape: Shape;

  constructor(shape: Shape, seed: number) {
    this.shape = shape;
    const rng = seededRng(seed, 17);
    const places: Place[] = [];
    const core = add(places, { shape, rng, tier: "core", name: "core", parent: undefined });
    for (let r = 0; r < shape.regions; r++) {
      add(places, { shape, rng, tier: "region", name: `r${r}`, parent: core });
    }
    for (const region of [...core.children]) {
      for (let e = 0; e < shape.edges; e++) {
        add(places, {
          ...{ shape, rng, tier: "edge", name: `e${e}.${region.name.split(".")[0]}` },
          parent: region,
        });
      }
    }
    this.places = places;
  }

  edge(region: number, index: number): number {
    return 1 + this.shape.regions + region * this.shape.edges + index;
  }

  region(index: number): number {
    return 1 + index;
  }

  edgesOf(region: number): number[] {
    return Array.from({ length: this.shape.edges }, (_, i) => this.edge(region, i));
  }

  /** Round trip, ms, on the shortest way: siblings reach each other directly, the rest along the tree. */
  rttMs(a: number, b: number): number {
    const from = this.places[a]!;
    const to = this.places[b]!;
    if (a === b) return 0;
    if (from.parent === to) return from.upMs;
    if (to.parent === from) return to.upMs;
    if (from.parent === to.parent) return distance(from, to);
    // Up to where both ways meet.
    if (from.tier === "edge") return from.upMs + this.rttMs(from.parent!.id, b);
    return to.upMs + this.rttMs(a, to.parent!.id);
  }

  /** Whether traffic between them is paid for: whatever leaves a metropolitan network. */
  isPaid(a: number, b: number): boolean {
    const from = this.places[a]!;
    const to = this.places[b]!;
    if (a === b) return false;
    return !(from.tier === "edge" && to.tier === "edge" && from.region === to.region);
  }
}

interface Wanted {
  readonly shape: Shape;
  readonly rng: Rng;
  readonly tier: Tier;
  readonly name: string;
  readonly parent: Place | undefined;
}

function add(places: Place[], { shape, rng, tier, name, parent }: Wanted): Place {
  const id = places.length;
  const place: Place = {
    id,
    name: `${name}.${SCALE_MESH}` as ClusterName,
    tier,
    parent,
    children: [],
    region: tier === "core" ? -1 : tier === "region" ? id - 1 : parent!.region,
    pool: shape.pools?.get(id) ?? shape[tier],
    rate: shape.rates[tier] * (tier === "edge" ? lognormal(rng, shape.uneven) : 1),
    x: rng.next(),
    y: rng.next(),
    upMs: tier === "edge" ? between(rng, 5, 30) : tier === "region" ? between(rng, 20, 90) : 0,
  };
  parent?.children.push(place);
  places.push(place);
  return place;
}

/** Edges of a region are 2 to 20 ms apart, regions 25 to 130. */
function distance(a: Place, b: Place): number {
  const share = Math.hypot(a.x - b.x, a.y - b.y) / Math.SQRT2;
  return a.tier === "edge" ? 2 + 18 * share : 25 + 105 * share;
}
