import { classesOf, FaultTree, hostOf, type TreeService } from "#bench/faults/fault_tree.ts";
import { LimitedOrigin } from "#bench/faults/limited_origin.ts";
import { OpenLoop, type OpenLoopOptions } from "#bench/load/open_loop.ts";
import { until } from "#test/kit/processes.ts";

/** Where all clients are. */
export const HOME = "store-1.eu";
/** Its sibling. */
export const NEXT_DOOR = "store-2.eu";
/** The parent of both. */
export const REGION = "eu";

/** One way: the next town, another country, the other side of the sea. No two that compete are within a dead band. */
const PLACES = [
  { name: "core", delayMs: 15 },
  { name: REGION, delayMs: 10 },
  { name: "us", delayMs: 20 },
  { name: HOME, delayMs: 2 },
  { name: NEXT_DOOR, delayMs: 2 },
];

/** Time of one request at every endpoint, ms. */
export const SERVICE_MS = 10;
/** What the endpoints of `rush`, or of a place of `spill`, serve per second. */
export const RUSH_PER_SECOND = 250;

/** Endpoints with far more room than any load here asks for. */
function roomy(name: string, count: number): LimitedOrigin {
  const about = { name, servers: 64, serviceMs: SERVICE_MS, queue: 1_000 };
  return new LimitedOrigin(Array.from({ length: count }, () => about));
}

/** Two endpoints that serve `RUSH_PER_SECOND` together. */
function small(name: string): LimitedOrigin {
  const about = { name, servers: 5, serviceMs: 40, queue: 1_000 };
  return new LimitedOrigin([about, about]);
}

/** The tree of the experiments, and its services. All clients ask in store-1. */
export class FaultWorld {
  readonly tree: FaultTree;
  /** The last load. */
  last: OpenLoop | undefined = undefined;
  readonly #services: ReadonlyMap<string, TreeService>;

  private constructor(tree: FaultTree, services: ReadonlyMap<string, TreeService>) {
    this.tree = tree;
    this.#services = services;
  }

  static async open(): Promise<FaultWorld> {
    const services: TreeService[] = [
      // Here, next door and in the region.
      {
        name: "menu",
        origins: {
          [HOME]: roomy(HOME, 2),
          [NEXT_DOOR]: roomy(NEXT_DOOR, 2),
          [REGION]: roomy(REGION, 2),
        },
      },
      // Not here.
      {
        name: "stock",
        origins: { [NEXT_DOOR]: roomy(NEXT_DOOR, 2), [REGION]: roomy(REGION, 2) },
      },
      { name: "till", origins: { [HOME]: roomy(HOME, 4) } },
      {
        name: "ledger",
        origins: {
          [HOME]: roomy(HOME, 2),
          [NEXT_DOOR]: roomy(NEXT_DOOR, 2),
          [REGION]: roomy(REGION, 2),
        },
      },
      { name: "rush", origins: { [HOME]: small(HOME) } },
      {
        name: "spill",
        origins: {
          [HOME]: small(HOME),
          [NEXT_DOOR]: small(NEXT_DOOR),
          [REGION]: small(REGION),
        },
      },
    ];
    const origins = services.flatMap((service) => Object.values(service.origins));
    await Promise.all(origins.map((origin) => origin.start()));
    const tree = await FaultTree.open(PLACES, services, { [HOME]: classesOf("rush") });
    return new FaultWorld(tree, new Map(services.map((service) => [service.name, service])));
  }

  origin(service: string, cluster: string): LimitedOrigin {
    return this.#services.get(service)!.origins[cluster]!;
  }

  /** A load on a service. */
  async load(
    service: string,
    rate: number,
    more: Partial<OpenLoopOptions> = {},
  ): Promise<OpenLoop> {
    const port = await this.tree.at(HOME).entrance();
    this.last = new OpenLoop({ port, host: hostOf(service), rate, ...more });
    return this.last.start();
  }

  /** All requests of a service that its endpoints have received. */
  async received(service: string): Promise<number> {
    const { origins } = this.#services.get(service)!;
    const counts = await Promise.all(Object.values(origins).map((origin) => origin.received()));
    return counts.flat().reduce((sum, count) => sum + count, 0);
  }

  settled(service: string, by: readonly string[]): Promise<void> {
    return this.tree.settled(HOME, service, by);
  }

  async close(): Promise<void> {
    await this.tree.close();
    const services = [...this.#services.values()];
    await Promise.all(
      services.flatMap(({ origins }) => Object.values(origins).map((origin) => origin.kill())),
    );
  }
}

/** Until so many ms of the load are over. */
export function passes(load: OpenLoop, ms: number): Promise<void> {
  const end = load.now + ms;
  return until("time passes", () => load.now >= end, ms + 60_000);
}
