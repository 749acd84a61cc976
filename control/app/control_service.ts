import { SnapshotHub } from "#control/api/snapshot_hub.ts";
import { OperatorOrders, type OrderRefused, type Wish } from "#control/app/operator_orders.ts";
import { Refusals } from "#control/app/refusals.ts";
import type { Catalog, ChildFacts, OwnHealth } from "#control/catalog/catalog.ts";
import { Epochs } from "#control/catalog/epochs.ts";
import { type Lease, leasesOf } from "#control/catalog/leases.ts";
import { ownServices } from "#control/catalog/own.ts";
import { follow, upward, viewParts } from "#control/catalog/views.ts";
import { advertised, compileGateway, compileSidecar } from "#control/compile/mesh.ts";
import { policyOrders } from "#control/compile/policy_orders.ts";
import type { Resources } from "#control/config/resources.ts";
import type { ClusterSpec } from "#control/config/schema.ts";
import type { Child, Store } from "#control/store/store.ts";
import type { Bus } from "#discovery/bus/bus.ts";
import { ChildLinks } from "#discovery/sync/child_links.ts";
import { older } from "#discovery/sync/lease.ts";
import { ParentLink } from "#discovery/sync/parent_link.ts";
import type { Clock, Timer } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";
import type { Metrics } from "#kernel/metrics.ts";
import type { Result } from "#kernel/result.ts";
import type { Rng } from "#kernel/rng.ts";
import {
  type ClusterName,
  coreOf,
  firstLabel,
  lineage,
  type MeshName,
  type ServiceName,
} from "#model/names.ts";
import { type Order, orderKey } from "#model/order.ts";
import { mergeReports, type ServiceReport } from "#model/report.ts";
import type { Freshness } from "#model/snapshot.ts";
import type { Summary, ViewEntry } from "#model/summary.ts";

export interface ControlServiceOptions {
  readonly mesh: MeshName;
  readonly cluster: ClusterName;
  readonly spec: ClusterSpec;
  readonly resources: Resources;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: Logger;
  readonly store: Store;
  /** A name of this run, `[a-z0-9]+`: two runs with the same term must not have the same. */
  readonly boot: string;
  /** This cluster's own bus, as its control service. */
  readonly bus: Bus;
  /** The parent's bus, as a child; undefined in the core. */
  readonly parentBus?: Bus;
}

/** Changes that come together are compiled once. */
const COALESCE_MS = 20;
/** Compiling may take this share of the time: a parent of many must not do nothing else. */
const COMPILE_SHARE = 0.1;
/** The catalog is written to disk at most this often. */
const SAVE_MS = 1_000;

/**
 * What a cluster knows and says: gathers the catalog from its resources, its children, its parent and
 * its gateways; compiles snapshots; tells parent and children; passes orders on. No sockets, no files of its own.
 */
export class ControlService {
  readonly #options: ControlServiceOptions;
  readonly hub: SnapshotHub;
  readonly #children: ChildLinks;
  readonly #parent: ParentLink | undefined;
  readonly #registered = new Map<string, Child>();
  #resources: Resources;
  #refresh: Timer | undefined = undefined;
  #save: Timer | undefined = undefined;
  readonly #operator: OperatorOrders;
  readonly #epochs: Epochs;
  readonly #refusals: Refusals;
  #catalog: Catalog;
  /** What was said upward last. */
  #told: ReadonlyMap<string, Summary> = new Map();
  /** What the children may use of mesh-wide rate limits. */
  #leases: ReadonlyMap<ClusterName, readonly Lease[]> = new Map();
  /** What was ordered when snapshots were last compiled, but for leases. */
  #ordered = "";
  /** How long the last one took. */
  #compileMs = 0;

  constructor(options: ControlServiceOptions) {
    this.#options = options;
    this.#resources = options.resources;
    const { store, clock, rng, bus, parentBus, cluster, mesh, boot } = options;
    this.#epochs = new Epochs(store);
    this.#refusals = new Refusals(options.log);
    this.#operator = new OperatorOrders(mesh, cluster, store);
    this.hub = new SnapshotHub(() => this.#changed());
    for (const child of store.children()) this.#registered.set(child.label, child);
    const epoch = `${store.nextTerm()}-${boot}`;
    const onChange = (): void => this.#changed();
    this.#children = new ChildLinks({
      bus,
      clock,
      rng,
      epoch,
      isChild: (label) => this.#registered.has(label),
      restored: store.facts(),
      onChange,
    });
    this.#parent =
      parentBus === undefined
        ? undefined
        : new ParentLink({
            bus: parentBus,
            label: firstLabel(cluster),
            clock,
            rng,
            epoch,
            restored: store.view(),
            restoredOrders: store.heardOrders(),
            isAbove: (name) =>
              lineage(cluster, mesh)
                .slice(1)
                .includes(name as ClusterName),
            onChange,
            onOrders: () => this.#ordersChanged(),
          });
    this.#catalog = this.#gather();
    this.#lease(this.#catalog);
    this.#publish();
    this.#tellViews();
  }

  get cluster(): ClusterName {
    return this.#options.cluster;
  }

  get catalog(): Catalog {
    return this.#catalog;
  }

  child(label: string): Child | undefined {
    return this.#registered.get(label);
  }

  children(): readonly Child[] {
    return [...this.#registered.values()];
  }

  /** `fresh` … `expired`; undefined in the core. */
  get parentLease(): string | undefined {
    return this.#parent?.view().lease;
  }

  /** Names of all registered children, heard or not. */
  childNames(): ClusterName[] {
    return Array.from(this.#registered.keys(), (label) => this.#childName(label));
  }

  registerChild(child: Child): void {
    this.#options.store.addChild(child);
    this.#registered.set(child.label, child);
    this.#changed();
  }

  /** Puts other resources in force. */
  use(resources: Resources): void {
    this.#resources = resources;
    this.#changed();
  }

  /** Does what an operator wishes, here and below, at once. */
  obey(wish: Wish): Result<{ readonly changed: boolean }, OrderRefused> {
    const obeyed = this.#operator.obey(wish, {
      isChild: (label) => this.#registered.has(label),
      isKnown: (service) => isKnown(this.#catalog, service),
      inForce: this.#catalog.orders,
    });
    this.#ordersChanged();
    return obeyed;
  }

  /** What is said now of where a service's data is holds, though a higher epoch was heard once. False: none was. */
  forgetEpoch(service: ServiceName): boolean {
    const known = this.#epochs.newest.get(service);
    this.#epochs.forget(service);
    this.#learn(this.#catalog);
    this.#changed();
    return known !== this.#epochs.newest.get(service);
  }

  register(metrics: Metrics): void {
    const own = [this.#options.cluster];
    const gauge = (name: string, help: string, value: () => number): void =>
      metrics.gauge({ name, help, labels: ["cluster"] }, () => [{ labels: own, value: value() }]);
    const counter = (name: string, help: string, value: () => number): void =>
      metrics.counter({ name, help, labels: ["cluster"] }, () => [{ labels: own, value: value() }]);
    gauge("espalier_proxies_connected", "Proxies that follow this control service.", () => {
      return this.hub.statuses().length;
    });
    counter(
      "espalier_snapshot_acks_total",
      "Snapshots that proxies accepted.",
      () => this.hub.acks,
    );
    counter(
      "espalier_snapshot_nacks_total",
      "Snapshots that proxies refused.",
      () => this.hub.nacks,
    );
    gauge("espalier_catalog_children", "Children that are not expired.", () => {
      return this.#catalog.children.length;
    });
    gauge("espalier_catalog_view_entries", "Entries known of the rest of the mesh.", () => {
      return this.#catalog.view.length;
    });
    counter("espalier_bus_dropped_total", "Children's messages that were dropped.", () => {
      return this.#children.dropped;
    });
    gauge("espalier_parent_link_fresh", "1 if the parent was heard within a lease.", () => {
      return this.parentLease === undefined || this.parentLease === "fresh" ? 1 : 0;
    });
  }

  /** @param leave true: the cluster leaves the mesh; false: this is a restart. */
  close(leave = false): void {
    this.#refresh?.cancel();
    this.#save?.cancel();
    this.#parent?.close(leave);
    this.#children.close();
    this.#saveNow();
  }

  #changed(): void {
    const { clock } = this.#options;
    const delayMs = Math.max(COALESCE_MS, this.#compileMs / COMPILE_SHARE);
    this.#refresh ??= clock.after(delayMs, () => {
      this.#refresh = undefined;
      const startedAt = clock.now();
      this.#lease(this.#gather());
      this.#publish();
      this.#tellViews();
      this.#compileMs = clock.now() - startedAt;
      this.#save ??= clock.after(SAVE_MS, () => {
        this.#save = undefined;
        this.#saveNow();
      });
    });
  }

  /**
   * Compiling for many children takes its time, and waits for more to change: what an operator orders does not. All
   * hear the order itself, and follow it before they hear what it does to others' summaries.
   */
  #ordersChanged(): void {
    const orders = this.#orders();
    if (orderedBy(orders) !== this.#ordered) {
      this.#lease({ ...this.#catalog, orders });
      this.#publish();
    }
    this.#changed();
  }

  /** What is ordered here and above, in a fixed order. */
  #orders(): Order[] {
    const orders = [
      ...(this.#parent?.orders() ?? []),
      ...this.#operator.all(),
      ...policyOrders(this.#resources, this.#options.cluster),
    ];
    const byKey = new Map(orders.map((order) => [orderKey(order), order]));
    return [...byKey.keys()].sort().map((key) => byKey.get(key)!);
  }

  /** Takes up a catalog, with this cluster's own part of each rate limit in place of what it has to divide. */
  #lease(catalog: Catalog): void {
    const { own, below } = leasesOf(catalog);
    this.#leases = below;
    const rest = catalog.orders.filter(({ kind }) => kind !== "lease");
    const next = { ...catalog, orders: [...rest, ...own] };
    if (this.#catalog !== undefined) follow(this.#catalog, next);
    this.#catalog = next;
  }

  #gather(): Catalog {
    const { mesh, cluster, spec } = this.#options;
    const [bound] = this.hub.gatewayAddresses();
    const catalog: Catalog = {
      mesh,
      cluster,
      gateways: advertised(spec, bound),
      own: ownServices(this.#resources, cluster),
      health: mergeHealth(this.hub.gatewayReports()),
      children: this.#childFacts(),
      view: this.#view(),
      orders: this.#orders(),
      newest: this.#epochs.newest,
    };
    this.#learn(catalog);
    return catalog;
  }

  #learn(catalog: Catalog): void {
    try {
      this.#epochs.learn(catalog);
    } catch (error) {
      const { message } = error as Error;
      this.#options.log.error("epoch not saved: it is forgotten at the end", { error: message });
    }
  }

  #childFacts(): ChildFacts[] {
    return this.#children.children().flatMap(({ label, lease, facts }) => {
      const cluster = this.#childName(label);
      return lease === "expired" ? [] : [{ cluster, freshness: lease, facts }];
    });
  }

  #childName(label: string): ClusterName {
    const { cluster, mesh } = this.#options;
    return `${label}.${cluster === coreOf(mesh) ? mesh : cluster}` as ClusterName;
  }

  /** The view outlives its link: without a parent it is stale, never gone. */
  #view(): ViewEntry[] {
    if (this.#parent === undefined) return [];
    const { entries, lease } = this.#parent.view();
    const atBest: Freshness = lease === "fresh" ? "fresh" : "stale";
    return entries.map((entry) => {
      const freshness = older(entry.freshness, atBest);
      return freshness === entry.freshness ? entry : { ...entry, freshness };
    });
  }

  /** All that is told but views, which are as many as children and siblings together. */
  #publish(): void {
    const { spec, store } = this.#options;
    const { orders } = this.#catalog;
    this.#ordered = orderedBy(orders);
    const sessionKey = store.sessionKey();
    const input = { catalog: this.#catalog, resources: this.#resources, spec, sessionKey };
    const snapshot = compileGateway(input);
    this.#refusals.look(snapshot);
    this.hub.publish("gateway", snapshot);
    this.hub.publish("workload", compileSidecar(input));
    this.#told = upward(this.#catalog, this.#told);
    this.#parent?.publish(this.#told);
    const forAll = orders.filter(({ kind }) => kind !== "lease");
    for (const { cluster } of this.#catalog.children) {
      const own = [...forAll, ...(this.#leases.get(cluster) ?? [])];
      const byKey = new Map(own.map((order) => [orderKey(order), order]));
      this.#children.setOrders(firstLabel(cluster), byKey);
    }
  }

  #tellViews(): void {
    for (const { cluster } of this.#catalog.children) {
      this.#children.setView(firstLabel(cluster), viewParts(this.#catalog, cluster));
    }
  }

  #saveNow(): void {
    const { store, log } = this.#options;
    const facts = new Map(this.#catalog.children.map((c) => [firstLabel(c.cluster), c.facts]));
    try {
      store.saveCatalog(facts, this.#catalog.view, this.#parent?.orders() ?? []);
    } catch (error) {
      // A full disk must not end a control service: what it knows it still serves.
      log.error("catalog not saved", { error: (error as Error).message });
    }
  }
}

/** What the gateways of one cluster say of its services. */
function mergeHealth(
  reports: ReadonlyArray<readonly ServiceReport[]>,
): ReadonlyMap<ServiceName, OwnHealth> {
  return new Map(
    mergeReports(reports).map(({ service, ...health }) => [
      service as ServiceName,
      { p50Ms: undefined, ...health },
    ]),
  );
}

/** All but leases, which change with the load. */
function orderedBy(orders: readonly Order[]): string {
  return JSON.stringify(orders.filter(({ kind }) => kind !== "lease"));
}

function isKnown({ own, children, view }: Catalog, name: ServiceName): boolean {
  return (
    own.some((service) => service.name === name) ||
    children.some(({ facts }) => facts.has(name)) ||
    view.some(({ service }) => service === name)
  );
}
