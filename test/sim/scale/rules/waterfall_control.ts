import type { Catalog, OwnHealth, OwnService } from "#control/catalog/catalog.ts";
import { upward } from "#control/catalog/views.ts";
import { compileGateway } from "#control/compile/mesh.ts";
import { parseResources } from "#control/config/parse.ts";
import { noResources } from "#control/config/resources.ts";
import type { ClusterSpec } from "#control/config/schema.ts";
import { leaseState } from "#discovery/sync/lease.ts";
import type { Millis } from "#kernel/brand.ts";
import type { ServiceName } from "#model/names.ts";
import type { Freshness, Service } from "#model/snapshot.ts";
import type { Summary, ViewEntry } from "#model/summary.ts";
import { viewFor } from "#test/kit/catalog_tree.ts";
import { ownService } from "#test/kit/own_service.ts";
import type { EventQueue } from "#test/sim/scale/event_queue.ts";
import type { Network } from "#test/sim/scale/network.ts";
import { endpointId, gatewayNumber } from "#test/sim/scale/rule.ts";
import { type Place, SCALE_MESH } from "#test/sim/scale/topology.ts";

/** Between what a gateway tells its control service. */
const REPORT_MS = 2_000;
/** Between two looks at what is known. */
const TICK_MS = 1_000;
/** What a message takes besides its way. */
const HANDLING_MS = 20;

/** What an operator declares of a server: room for a short queue, or busy moments would be turned away. */
const DECLARED = 1.5;

const SERVICE = "menu.shop" as ServiceName;

/** What a cluster's control service needs of its gateway. */
export interface ControlledGateway {
  report(now: Millis): OwnHealth;
  use(service: Service, now: Millis): void;
}

/** Changes what a cluster says of itself: a liar. */
export type Lie = (summary: Summary) => Summary;

/** One cluster's control service: the production catalog, views and snapshots, without the buses between. */
export class ControlPlane {
  readonly place: Place;
  lie: Lie | undefined = undefined;
  readonly #queue: EventQueue;
  readonly #network: Network;
  readonly #own: readonly OwnService[];
  #gateway: ControlledGateway | undefined = undefined;
  #health: ReadonlyMap<ServiceName, OwnHealth> = new Map();
  #parent: ControlPlane | undefined = undefined;
  readonly #children = new Map<number, Heard<ReadonlyMap<string, Summary>>>();
  readonly #below: ControlPlane[] = [];
  #view: Heard<readonly ViewEntry[]> | undefined = undefined;
  #said = "";

  constructor(place: Place, queue: EventQueue, network: Network) {
    this.place = place;
    this.#queue = queue;
    this.#network = network;
    this.#own = place.pool.endpoints === 0 ? [] : [serviceOf(place)];
  }

  attach(gateway: ControlledGateway, parent: ControlPlane | undefined): void {
    this.#gateway = gateway;
    this.#parent = parent;
    if (parent !== undefined) parent.#below.push(this);
  }

  /** Begins to report, to listen and to tell. @param phase 0 to 1: clusters do not act in step. */
  start(phase: number): void {
    this.#queue.every(REPORT_MS, REPORT_MS * phase, () => {
      this.#health = new Map([[SERVICE, this.#gateway!.report(this.#queue.now)]]);
    });
    this.#queue.every(TICK_MS, TICK_MS * phase, () => this.tick());
  }

  /** What the gateway is told now. */
  service(): Service | undefined {
    const { services } = compileGateway({
      catalog: this.#catalog(),
      resources: noResources(),
      spec: this.place.tier === "edge" ? PRICED : DEFAULTS,
    });
    return services[0];
  }

  /** Tells parent and children what is known now, and the gateway if it is new. */
  tick(): void {
    const catalog = this.#catalog();
    this.#tellParent(catalog);
    for (const child of this.#below) this.#tellChild(catalog, child);
    const said = JSON.stringify([catalog.children.map(plainFacts), catalog.view]);
    if (said === this.#said) return;
    this.#said = said;
    const service = this.service();
    if (service !== undefined) this.#gateway!.use(service, this.#queue.now);
  }

  /** The same without the time that messages take: everybody knows everything before the first request. */
  settle(): void {
    const catalog = this.#catalog();
    const parent = this.#parent;
    if (parent !== undefined) parent.#hear(this, this.#facts(catalog));
    for (const child of this.#below) child.#see(viewOf(catalog, child));
  }

  #facts(catalog: Catalog): ReadonlyMap<string, Summary> {
    const facts = upward(catalog);
    const { lie } = this;
    return lie === undefined ? facts : new Map([...facts].map(([name, s]) => [name, lie(s)]));
  }

  #tellParent(catalog: Catalog): void {
    const parent = this.#parent;
    if (parent === undefined) return;
    const facts = this.#facts(catalog);
    this.#send(parent, () => parent.#hear(this, facts));
  }

  #tellChild(catalog: Catalog, child: ControlPlane): void {
    const view = viewOf(catalog, child);
    this.#send(child, () => child.#see(view));
  }

  #send(to: ControlPlane, what: () => void): void {
    const ms = this.#network.oneWay(this.place.id, to.place.id);
    if (ms !== undefined) this.#queue.after(ms + HANDLING_MS, what);
  }

  #hear(child: ControlPlane, facts: ReadonlyMap<string, Summary>): void {
    this.#children.set(child.place.id, { at: this.#queue.now, said: facts });
  }

  #see(view: readonly ViewEntry[]): void {
    this.#view = { at: this.#queue.now, said: view };
  }

  #catalog(): Catalog {
    const { now } = this.#queue;
    const children = this.#below.flatMap(({ place }) => {
      const heard = this.#children.get(place.id);
      if (heard === undefined) return [];
      const freshness = leaseState(heard.at, now);
      return freshness === "expired" ? [] : [{ cluster: place.name, freshness, facts: heard.said }];
    });
    return {
      mesh: SCALE_MESH,
      cluster: this.place.name,
      gateways: [{ address: String(gatewayNumber(this.place.id)), port: 15_443 }],
      own: this.#own,
      health: this.#health,
      children,
      view: this.#agedView(now),
      orders: [],
    };
  }

  /** A view outlives its parent. */
  #agedView(now: Millis): readonly ViewEntry[] {
    if (this.#view === undefined) return [];
    const isFresh = leaseState(this.#view.at, now) === "fresh";
    if (isFresh) return this.#view.said;
    return this.#view.said.map((entry) => ({
      ...entry,
      freshness: entry.freshness === "fresh" ? ("stale" as Freshness) : entry.freshness,
    }));
  }
}

interface Heard<T> {
  readonly at: Millis;
  readonly said: T;
}

function viewOf(catalog: Catalog, child: ControlPlane): readonly ViewEntry[] {
  return [...viewFor(catalog, child.place.name).values()];
}

function plainFacts({ freshness, facts }: Catalog["children"][number]): unknown {
  return [freshness, [...facts]];
}

/** What an operator sets who pays for the way to the region, ms; other rules have levels for it. */
const PRICE_MS = 50;

/** A cluster that says nothing of itself, or what its links cost. */
function specOf(egressMs: string): ClusterSpec {
  const { resources } = parseResources(
    `apiVersion: espalier.dev/v1alpha1
kind: Cluster
metadata: { name: core.${SCALE_MESH} }
spec: { mesh: ${SCALE_MESH}, egressMs: ${egressMs} }
`,
    "sim",
  );
  return resources.clusters[0]!.spec;
}

const DEFAULTS = specOf("{}");
const PRICED = specOf(`{ parent: ${PRICE_MS} }`);

function serviceOf({ id, pool }: Place): OwnService {
  const endpoints = Array.from({ length: pool.endpoints }, (_, i) => ({
    ...{ address: String(endpointId(id, i)), port: 80 },
  }));
  return ownService(SERVICE, endpoints, { capacityEach: Math.ceil(pool.servers * DECLARED) });
}
