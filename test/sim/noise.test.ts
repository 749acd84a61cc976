import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { controlId, gatewayId } from "#certs/identity/spiffe_id.ts";
import { ControlService } from "#control/app/control_service.ts";
import { busPermissions } from "#control/authority/table.ts";
import { parseResources } from "#control/config/parse.ts";
import { resourcesOf } from "#control/config/resources.ts";
import { Store } from "#control/store/store.ts";
import type { Bus } from "#discovery/bus/bus.ts";
import { MemoryBroker } from "#discovery/bus/memory.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { type Rng, seededRng } from "#kernel/rng.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import { firstLabel, parentOf } from "#model/names.ts";
import { REPORT_PERIOD_MS } from "#proxy/app/proxy_process.ts";
import { Arrivals } from "#proxy/balance/arrivals.ts";
import { clusterText, exportedServiceText } from "#test/sim/tree_text.ts";
import { SIM_CLUSTERS, SIM_MESH } from "#test/sim/world.ts";

const EDGE = "store-1.eu.acme.mesh";
/** Of a request. */
const SERVICE_MS = 5;

/** Bytes that a cluster's control service says to its parent and hears from it, subjects included. */
interface Traffic {
  up: number;
  down: number;
}

/** The control services of seven clusters, and gateways that report noisy loads. */
class NoisyTree {
  readonly clock = new VirtualClock();
  readonly traffic: Traffic = { up: 0, down: 0 };
  readonly #rng = seededRng(1);
  readonly #perSecond: number;

  constructor(services: number, perSecond: number) {
    this.#perSecond = perSecond;
    const { clock } = this;
    const rng = this.#rng;
    const log = new MemoryLogger();
    const { resources, problems } = parseResources(treeText(services), "noise");
    assert.deepEqual(problems, []);
    const brokers = new Map<string, MemoryBroker>();
    const controls = new Map<string, ControlService>();
    for (const cluster of SIM_CLUSTERS) {
      const parent = parentOf(cluster, SIM_MESH);
      const own = new MemoryBroker({ clock, rng });
      brokers.set(cluster, own);
      const [id, label] = [controlId(cluster), firstLabel(cluster)];
      const child = busPermissions("child", label);
      const above = parent && this.#counted(brokers.get(parent)!.connect(id, child), cluster);
      if (parent !== undefined) controls.get(parent)!.registerChild({ label, tiers: 1 });
      const mine = resourcesOf(resources, cluster);
      const control = new ControlService({
        ...{ mesh: SIM_MESH, cluster, spec: mine.clusters[0]!.spec, resources: mine },
        ...{ clock, rng, log, store: Store.open(":memory:", log), boot: "noise" },
        bus: own.connect(id, busPermissions("self", "")),
        ...(above === undefined ? {} : { parentBus: above }),
      });
      controls.set(cluster, control);
      this.#report(control, services);
    }
  }

  #counted(bus: Bus, cluster: string): Bus {
    if (cluster !== EDGE) return bus;
    return {
      publish: (subject, data) => {
        this.traffic.up += subject.length + data.length;
        bus.publish(subject, data);
      },
      subscribe: (subject, receive) =>
        bus.subscribe(subject, (message) => {
          this.traffic.down += message.subject.length + message.data.length;
          receive(message);
        }),
      status: () => bus.status(),
      onStatus: (listen) => bus.onStatus(listen),
      onRefusal: (listen) => bus.onRefusal(listen),
      flush: () => bus.flush(),
      close: () => bus.close(),
    };
  }

  /** As a gateway with Poisson arrivals reports. */
  #report({ hub, cluster }: ControlService, services: number): void {
    const gateway = hub.subscribe(gatewayId(cluster), "gateway", () => {});
    const meters = Array.from({ length: services }, () => new Arrivals());
    const { clock } = this;
    clock.every(100, () => {
      for (const meter of meters) {
        for (let n = poisson(this.#perSecond / 10, this.#rng); n > 0; n--) meter.came(1, true);
        meter.fold(clock.now());
      }
    });
    clock.every(REPORT_PERIOD_MS, () => {
      const reports = meters.map(({ ownPerSecond }, i) => ({
        ...{ service: `s${i}.shop`, healthy: 2, inflight: 1, arrivals: ownPerSecond },
        demand: (ownPerSecond * SERVICE_MS) / 1_000,
        ...(ownPerSecond === 0 ? {} : { p50Ms: SERVICE_MS * (0.9 + 0.2 * this.#rng.next()) }),
      }));
      gateway.report(reports, undefined);
    });
  }
}

function poisson(mean: number, rng: Rng): number {
  let count = 0;
  for (let left = Math.exp(-mean), p = rng.next(); p > left; p *= rng.next()) count++;
  return count;
}

function treeText(services: number): string {
  return SIM_CLUSTERS.map((name, at) => {
    const endpoints = [1, 2].map((n) => ({ address: `10.${at}.0.${n}`, port: 80 }));
    const own = Array.from({ length: services }, (_, i) =>
      exportedServiceText(`s${i}`, name, endpoints),
    );
    return clusterText(name, SIM_MESH, at) + own.join("");
  }).join("---\n");
}

/** Bytes per second, once all know of each other. */
function measured(services: number, perSecond: number): Traffic {
  const tree = new NoisyTree(services, perSecond);
  tree.clock.advance(60_000);
  const before = { ...tree.traffic };
  tree.clock.advance(120_000);
  return { up: (tree.traffic.up - before.up) / 120, down: (tree.traffic.down - before.down) / 120 };
}

describe("a constant load", () => {
  for (const perSecond of [0, 2, 20, 200]) {
    it(`of ${perSecond} requests/s at each service is hardly any news`, (t) => {
      for (const services of [1, 5, 20]) {
        const { up, down } = measured(services, perSecond);
        t.diagnostic(
          `${services} services: ${Math.round(up)} B/s up, ${Math.round(down)} B/s down`,
        );
        if (services === 5) assert.ok(up + down < 1_000, `${up} up, ${down} down`);
      }
    });
  }
});
