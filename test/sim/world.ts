import { controlId, gatewayId } from "#certs/identity/spiffe_id.ts";
import { ControlService } from "#control/app/control_service.ts";
import { busPermissions } from "#control/authority/table.ts";
import { parseResources } from "#control/config/parse.ts";
import { type Resources, resourcesOf } from "#control/config/resources.ts";
import { Store } from "#control/store/store.ts";
import type { Bus } from "#discovery/bus/bus.ts";
import { MemoryBroker } from "#discovery/bus/memory.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { type Rng, seededRng } from "#kernel/rng.ts";
import { TimerWheel } from "#kernel/timer_wheel.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import {
  type ClusterName,
  firstLabel,
  type MeshName,
  parentOf,
  type ServiceName,
} from "#model/names.ts";
import type { Snapshot } from "#model/snapshot.ts";
import { HealthWatch } from "#proxy/app/health_watch.ts";
import { REPORT_PERIOD_MS } from "#proxy/app/proxy_process.ts";
import { buildTables, linksOf, reportOf } from "#proxy/app/tables.ts";
import { anonymous } from "#proxy/exchange/peer.ts";
import { LinkProber } from "#proxy/health/link_probe.ts";
import { RequestStats } from "#proxy/observe/service_stats.ts";
import { Dispatcher, type Tables } from "#proxy/relay/dispatcher.ts";
import type { RawUpstreams } from "#proxy/upstream/upstreams.ts";
import { SimExchange } from "#test/sim/exchange.ts";
import { SimNetwork, type SimOrigin, SimUpstreams } from "#test/sim/network.ts";
import { clusterText, exportedServiceText } from "#test/sim/tree_text.ts";

export const SIM_MESH = "acme.mesh" as MeshName;
export const SIM_CLUSTERS = [
  "core",
  "eu",
  "us",
  "store-1.eu",
  "store-2.eu",
  "store-1.us",
  "store-2.us",
].map((short) => `${short}.${SIM_MESH}` as ClusterName);

/** A client's request and what became of it. */
export interface SimRequest {
  readonly at: ClusterName;
  readonly sentAt: number;
  /** 0: cut. Undefined: still running. */
  status: number | undefined;
  endedAt: number;
  by: string;
}

/** One simulated cluster: the real control service and the real routing, on simulated connections. */
export class SimCluster {
  readonly name: ClusterName;
  readonly gatePort: number;
  readonly origins: readonly SimOrigin[];
  readonly broker: MemoryBroker;
  control!: ControlService;
  tables: Tables | undefined = undefined;
  readonly #world: SimWorld;
  readonly #resources: Resources;
  readonly #store: Store;
  readonly #dispatcher: Dispatcher;
  readonly #prober: LinkProber;
  readonly #stats = new RequestStats();
  #buses: Bus[] = [];
  #reporting: Array<{ cancel(): void }> = [];

  constructor(world: SimWorld, name: ClusterName, index: number, all: Resources) {
    this.#world = world;
    this.name = name;
    this.gatePort = 10_000 + index;
    this.#resources = resourcesOf(all, name);
    const { clock, rng, network, log } = world;
    this.origins = originPorts(index).map((port, i) => {
      const origin = { name: `${i}@${name}`, delayMs: 2, alive: true };
      network.addOrigin(port, origin);
      return origin;
    });
    this.broker = new MemoryBroker({ clock, rng });
    this.#store = Store.open(":memory:", log);
    const upstreams = new SimUpstreams(network, name);
    const wheel = new TimerWheel(clock);
    this.#dispatcher = new Dispatcher(
      { self: name, clock, wheel, rng, upstreams, raw: NO_CONNECTIONS },
      this.#stats.unrouted,
    );
    this.#prober = new LinkProber({
      clock,
      rng,
      links: upstreams,
      onReading: ({ cluster }, rttMs) => {
        for (const { balancer } of this.tables?.services.values() ?? []) {
          balancer.linkRtt(cluster, rttMs, clock.now());
        }
      },
    });
    network.addGate(this.gatePort, name, this.#dispatcher);
  }

  get parent(): SimCluster | undefined {
    const parent = parentOf(this.name, SIM_MESH);
    return parent === undefined ? undefined : this.#world.cluster(parent);
  }

  /** Starts the control service: for the first time, or again from its store. */
  startControl(): void {
    const { clock, rng, log } = this.#world;
    const { name, parent } = this;
    parent?.control.registerChild({ label: firstLabel(name), tiers: 1 });
    const bus = this.broker.connect(controlId(name), busPermissions("self", ""));
    const parentBus = parent?.broker.connect(
      controlId(name),
      busPermissions("child", firstLabel(name)),
    );
    this.#buses = parentBus === undefined ? [bus] : [bus, parentBus];
    this.control = new ControlService({
      mesh: SIM_MESH,
      cluster: name,
      spec: this.#resources.clusters[0]!.spec,
      resources: this.#resources,
      clock,
      rng,
      log,
      store: this.#store,
      boot: "sim",
      bus,
      ...(parentBus === undefined ? {} : { parentBus }),
    });
    const hub = this.control.hub;
    const subscription = hub.subscribe(gatewayId(name), "gateway", (snapshot) =>
      this.#apply(snapshot),
    );
    const report = (): void => subscription.report(this.#reports(), undefined);
    const services = () => this.tables?.services.values() ?? [];
    this.#reporting = [clock.every(REPORT_PERIOD_MS, report)];
    const watch = new HealthWatch({ clock, services, onNews: report });
    this.#reporting.push({ cancel: () => watch.close() });
  }

  /** A crash: nothing is said to anybody. */
  stopControl(): void {
    for (const reporting of this.#reporting) reporting.cancel();
    this.control.close();
    for (const bus of this.#buses) void bus.close();
  }

  request(host: string): SimRequest {
    const { clock } = this.#world;
    const request: SimRequest = {
      at: this.name,
      sentAt: clock.now(),
      status: undefined,
      endedAt: 0,
      by: "",
    };
    const head = {
      method: "GET",
      target: "/",
      authority: host,
      fields: [],
      body: 0,
      upgrade: undefined,
      takesTrailers: false,
    };
    const exchange = new SimExchange(
      head,
      { peer: anonymous("client"), listener: "default/ingress/http" },
      {
        answer: ({ status, fields }) => {
          request.status = status;
          request.endedAt = clock.now();
          request.by = fields[fields.indexOf("x-served-by") + 1] ?? "";
        },
        abort: () => {
          request.status = 0;
          request.endedAt = clock.now();
        },
      },
    );
    this.#dispatcher.onRequest(exchange);
    return request;
  }

  #apply(snapshot: Snapshot): void {
    this.tables = buildTables(snapshot, this.tables, this.#stats, this.#world.clock.now());
    this.#dispatcher.use(this.tables);
    this.#prober.watch(linksOf(snapshot));
  }

  #reports() {
    const now = this.#world.clock.now();
    return Array.from(this.tables?.services.values() ?? [], (service) => reportOf(service, now));
  }
}

/** The seven-cluster tree under a virtual clock. */
export class SimWorld {
  readonly clock = new VirtualClock();
  readonly rng: Rng;
  readonly network: SimNetwork;
  readonly log = new MemoryLogger();
  readonly requests: SimRequest[] = [];
  readonly #clusters = new Map<ClusterName, SimCluster>();

  constructor(seed: number) {
    this.rng = seededRng(seed);
    this.network = new SimNetwork(this.clock);
    const { resources, problems } = parseResources(treeText(), "sim");
    if (problems.length > 0) throw new Error(JSON.stringify(problems));
    SIM_CLUSTERS.forEach((name, index) => {
      this.#clusters.set(name, new SimCluster(this, name, index, resources));
    });
    for (const cluster of this.#clusters.values()) cluster.startControl();
  }

  cluster(name: ClusterName): SimCluster {
    return this.#clusters.get(name)!;
  }

  clusters(): readonly SimCluster[] {
    return [...this.#clusters.values()];
  }

  request(at: SimCluster, host: string): void {
    this.requests.push(at.request(host));
  }
}

export const SIM_SERVICE = "menu.shop" as ServiceName;
export const SIM_HOST = `menu.shop.svc.${SIM_MESH}`;

function originPorts(index: number): readonly number[] {
  return [20_000 + 10 * index, 20_001 + 10 * index];
}

/** The simulated services take requests only. */
const NO_CONNECTIONS: RawUpstreams = {
  open() {
    throw new Error("nobody asks for a connection here");
  },
};

function treeText(): string {
  return SIM_CLUSTERS.map((name, index) => {
    const endpoints = originPorts(index).map((port) => ({ address: "127.0.0.1", port }));
    return `${clusterText(name, SIM_MESH, index)}---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: ingress, annotations: { espalier.dev/cluster: ${name} } }
spec: { gatewayClassName: espalier, listeners: [{ name: http, port: 0, protocol: HTTP }] }
${exportedServiceText("menu", name, endpoints)}`;
  }).join("---\n");
}
