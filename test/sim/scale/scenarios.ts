import type { ScaleWorld } from "#test/sim/scale/scale_world.ts";
import type { Scenario, Story } from "#test/sim/scale/scenario.ts";
import type { Pool, Shape } from "#test/sim/scale/topology.ts";

const NONE: Pool = { endpoints: 0, servers: 0 };

/** A chain of shops: three regions of six edges, each half busy. */
const SHOPS: Shape = {
  regions: 3,
  edges: 6,
  core: { endpoints: 6, servers: 8 },
  region: { endpoints: 4, servers: 8 },
  edge: { endpoints: 3, servers: 4 },
  rates: { core: 200, region: 150, edge: 100 },
  serviceMs: 60,
  uneven: 0.15,
};
const REGIONS = SHOPS.regions;
/** Number of an edge of region 0. */
const shop = (index: number): number => 1 + REGIONS + index;

/** The same, but edges of region 0 from `first` on have no service of their own. */
function without(...edges: readonly number[]): Shape {
  return { ...SHOPS, pools: new Map(edges.map((edge) => [shop(edge), NONE])) };
}

/** Of worlds with a thousand edges. */
const LARGE = { fromS: 15, untilS: 50, endS: 65 } as const;
const USUAL = { fromS: 20, untilS: 80, endS: 110 } as const;

/** Whoever shares a region with `edge`, and the region. */
function neighbours(world: ScaleWorld, edge: number): number[] {
  const { topology } = world;
  const { region } = topology.places[edge]!;
  const others = topology.edgesOf(region).filter((id) => id !== edge);
  return [topology.region(region), ...others].filter((id) => world.stations[id]!.length > 0);
}

/** What happens at edge 0 of region 0 and is felt by its own clients. */
function atShop(world: ScaleWorld, begin: () => void, end: () => void): Story {
  const edge = shop(0);
  return { measured: [edge], receivers: neighbours(world, edge), links: [], begin, end };
}

const slowEndpoint: Scenario = {
  name: "slow-endpoint",
  title: "one of three local endpoints is 10 times slower",
  shape: SHOPS,
  ...USUAL,
  plan(world) {
    const [station] = world.stations[shop(0)]!;
    const set = (slowness: number) => () => {
      station!.slowness = slowness;
    };
    return atShop(world, set(10), set(1));
  },
};

const darkRegion: Scenario = {
  name: "dark-region",
  title: "a region is cut off for 60 s; two of its six edges have no service of their own",
  shape: without(4, 5),
  ...USUAL,
  plan(world) {
    const { topology } = world;
    const region = topology.region(0);
    const edges = topology.edgesOf(0);
    return {
      measured: edges,
      receivers: edges.slice(0, 4),
      links: [...edges, 0, topology.region(1), topology.region(2)].map((id) => [id, region]),
      begin: () => world.network.darken(region, true),
      end: () => world.network.darken(region, false),
    };
  },
};

/** Seconds in which it gets worse, and then better. */
const BROWN_S = 60;

const brownOut: Scenario = {
  name: "brown-out",
  title: "all endpoints of an edge slow down to an eighth within 60 s, and come back",
  shape: SHOPS,
  fromS: 20,
  untilS: 140,
  endS: 160,
  plan(world) {
    const stations = world.stations[shop(0)]!;
    const set = (slowness: number): void => {
      for (const station of stations) station.slowness = slowness;
    };
    const begin = (): void => {
      for (let s = 0; s <= 2 * BROWN_S; s++) {
        const share = 1 - Math.abs(s - BROWN_S) / BROWN_S;
        world.queue.after(s * 1_000, () => set(1 + 7 * share));
      }
    };
    return atShop(world, begin, () => set(1));
  },
};

const overload: Scenario = {
  name: "overload",
  title: "clients of an edge bring 150 % of what it can do",
  shape: SHOPS,
  ...USUAL,
  plan(world) {
    const edge = shop(0);
    const { shape, places } = world.topology;
    const bears = (world.servers(edge) / shape.serviceMs) * 1_000;
    const begin = (): void => {
      world.surge[edge] = (1.5 * bears) / places[edge]!.rate;
    };
    return atShop(world, begin, () => {
      world.surge[edge] = 1;
    });
  },
};

const onlyCore: Scenario = {
  name: "only-core",
  title: "the service dies in 208 clusters at once; only core still has it",
  shape: {
    ...{ regions: 8, edges: 25, serviceMs: 60, uneven: 0.5 },
    core: { endpoints: 20, servers: 8 },
    region: { endpoints: 3, servers: 4 },
    edge: { endpoints: 2, servers: 2 },
    rates: { core: 100, region: 20, edge: 3 },
  },
  ...{ fromS: 15, untilS: 35, endS: 45 },
  plan(world) {
    const others = world.topology.places.map(({ id }) => id).filter((id) => id !== 0);
    const all = (isDead: boolean) => (): void => {
      for (const id of others) world.kill(id, isDead);
    };
    return { measured: others, receivers: [0], links: [], begin: all(true), end: all(false) };
  },
};

const lostRegions: Scenario = {
  name: "lost-regions",
  title:
    "1,000 edges lose the service of their four regions at once; core and two regions are left",
  shape: {
    ...{ regions: 6, edges: 250, serviceMs: 60, uneven: 0.5 },
    core: { endpoints: 6, servers: 8 },
    region: { endpoints: 5, servers: 8 },
    edge: NONE,
    rates: { core: 50, region: 20, edge: 1.2 },
    pools: new Map([
      [5, { endpoints: 7, servers: 8 }],
      [6, { endpoints: 7, servers: 8 }],
    ]),
  },
  ...LARGE,
  plan(world) {
    const lost = [1, 2, 3, 4];
    const all = (isDead: boolean) => (): void => {
      for (const id of lost) world.kill(id, isDead);
    };
    const edges = lost.flatMap((id) => world.topology.edgesOf(id - 1));
    return { measured: edges, receivers: [0, 5, 6], links: [], begin: all(true), end: all(false) };
  },
};

/** The sibling that is nearest to `edge`. */
function nearestSibling(world: ScaleWorld, edge: number): number {
  const { topology } = world;
  const siblings = topology
    .edgesOf(topology.places[edge]!.region)
    .filter((id) => id !== edge && world.stations[id]!.length > 0);
  return siblings.reduce((a, b) => (topology.rttMs(edge, a) <= topology.rttMs(edge, b) ? a : b));
}

const flappingLink: Scenario = {
  name: "flapping-link",
  title:
    "the link from an edge without a service to the nearest one that has it goes down every 5 s",
  shape: without(0),
  ...USUAL,
  plan(world) {
    const edge = shop(0);
    const sibling = nearestSibling(world, edge);
    const cut = (isCut: boolean) => (): void => world.network.cut(edge, sibling, isCut);
    const begin = (): void => {
      for (let ms = 0; ms < 60_000; ms += 5_000) {
        world.queue.after(ms, cut(true));
        world.queue.after(ms + 2_500, cut(false));
      }
    };
    return {
      measured: [edge],
      receivers: neighbours(world, edge),
      links: neighbours(world, edge).map((id) => [edge, id]),
      begin,
      end: cut(false),
    };
  },
};

const lyingEdge: Scenario = {
  name: "lying-edge",
  title: "an edge claims 100 times its capacity and no response time at all",
  shape: without(5),
  ...USUAL,
  plan(world) {
    const liar = shop(1);
    const set = (isLying: boolean) => (): void => {
      const control = world.controls[liar];
      if (control === undefined) return;
      control.lie = isLying
        ? (summary) => ({
            ...summary,
            healthy: summary.healthy * 100,
            total: summary.total * 100,
            capacity: (summary.capacity ?? 12) * 100,
            p50Ms: 0,
          })
        : undefined;
    };
    return {
      measured: world.topology.edgesOf(0),
      receivers: [liar],
      links: [],
      begin: set(true),
      end: set(false),
    };
  },
};

const skewedClocks: Scenario = {
  name: "skewed-clocks",
  title: "clocks differ by up to 10 minutes while an edge's service dies and comes back",
  shape: SHOPS,
  skewedClocks: true,
  ...USUAL,
  plan(world) {
    const edge = shop(0);
    return atShop(
      world,
      () => world.kill(edge, true),
      () => world.kill(edge, false),
    );
  },
};

const farther: Scenario = {
  name: "rtt-triples",
  title: "the nearest sibling of an edge without a service is three times as far away",
  shape: without(0),
  ...USUAL,
  plan(world) {
    const edge = shop(0);
    const sibling = nearestSibling(world, edge);
    return {
      measured: [edge],
      receivers: neighbours(world, edge),
      links: neighbours(world, edge).map((id) => [edge, id]),
      begin: () => world.network.stretch(edge, sibling, 3),
      end: () => world.network.stretch(edge, sibling, 1),
    };
  },
};

const poisoned: Scenario = {
  name: "poisoned-endpoint",
  title: "one of three local endpoints answers 500 within 1 ms",
  shape: SHOPS,
  ...USUAL,
  plan(world) {
    const [station] = world.stations[shop(0)]!;
    return atShop(
      world,
      () => {
        station!.mode = "poisoned";
      },
      () => {
        station!.mode = "well";
      },
    );
  },
};

/** Every scenario, in the order of the table. */
export const SCENARIOS: readonly Scenario[] = [
  slowEndpoint,
  poisoned,
  darkRegion,
  brownOut,
  overload,
  onlyCore,
  lostRegions,
  flappingLink,
  lyingEdge,
  skewedClocks,
  farther,
];
