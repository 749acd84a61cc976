import { LinkRelay } from "#cli/demo/link_relay.ts";
import { Origin } from "#cli/demo/origins.ts";
import {
  clusterText,
  DEMO_CLUSTERS,
  DEMO_SERVICES,
  type DemoService,
  linkDelayOf,
} from "#cli/demo/plan.ts";
import { Tree } from "#cli/up/tree.ts";
import { planTree } from "#cli/up/tree_problems.ts";
import { parseResources } from "#control/config/parse.ts";
import { noResources, type Resources } from "#control/config/resources.ts";
import type { Clock } from "#kernel/clock.ts";
import type { LeveledLogger } from "#kernel/log.ts";
import { formatProblem } from "#kernel/result.ts";
import type { Rng } from "#kernel/rng.ts";
import type { ClusterName } from "#model/names.ts";

const ORIGIN_DELAY_MS = 2;
const ENDPOINTS = 2;

/** The demo's whole world: services, links between clusters, and the tree itself. */
export class Shop {
  readonly tree: Tree;
  readonly #origins: ReadonlyMap<string, readonly Origin[]>;
  readonly #relays: ReadonlyMap<ClusterName, LinkRelay>;

  private constructor(
    tree: Tree,
    origins: ReadonlyMap<string, readonly Origin[]>,
    relays: ReadonlyMap<ClusterName, LinkRelay>,
  ) {
    this.tree = tree;
    this.#origins = origins;
    this.#relays = relays;
  }

  static async open(ports: { clock: Clock; rng: Rng; log: LeveledLogger }): Promise<Shop> {
    const origins = new Map<string, readonly Origin[]>();
    const relays = new Map<ClusterName, LinkRelay>();
    const all = noResources();
    for (const cluster of DEMO_CLUSTERS) {
      for (const service of DEMO_SERVICES) {
        origins.set(key(cluster, service), await startOrigins(cluster, service, ports.clock));
      }
      const relay = new LinkRelay(linkDelayOf(cluster), ports.clock);
      relays.set(cluster, relay);
      addAll(all, cluster, await relay.listen(), origins);
    }
    const planned = planTree(all);
    if (!planned.ok) throw new Error(planned.error.map(formatProblem).join("\n"));
    const shop = new Shop(await Tree.start(planned.value, ports), origins, relays);
    for (const cluster of DEMO_CLUSTERS) await shop.#aim(cluster);
    return shop;
  }

  origins(cluster: ClusterName, service: DemoService): readonly Origin[] {
    return this.#origins.get(key(cluster, service))!;
  }

  /** The link to a cluster's gateway. */
  link(cluster: ClusterName): LinkRelay {
    return this.#relays.get(cluster)!;
  }

  async killGateway(cluster: ClusterName): Promise<void> {
    await this.tree.cluster(cluster).stopGateway(0);
  }

  async startGateway(cluster: ClusterName): Promise<void> {
    await this.tree.cluster(cluster).startGateway();
    await this.#aim(cluster);
  }

  /** Port of a cluster's plain HTTP listener. */
  async ingressPort(cluster: ClusterName): Promise<number> {
    return this.#portOf(cluster, "default/ingress/http");
  }

  async close(): Promise<void> {
    await this.tree.close(0);
    for (const relay of this.#relays.values()) relay.close();
    for (const origins of this.#origins.values()) {
      for (const origin of origins) await origin.kill();
    }
  }

  async #aim(cluster: ClusterName): Promise<void> {
    this.link(cluster).target = await this.#portOf(cluster, "mesh");
  }

  async #portOf(cluster: ClusterName, listener: string): Promise<number> {
    const statuses = await this.tree.cluster(cluster).gateway!.process.settled();
    return statuses.find(({ name }) => name === listener)!.bound!.port;
  }
}

async function startOrigins(
  cluster: ClusterName,
  service: DemoService,
  clock: Clock,
): Promise<Origin[]> {
  const origins: Origin[] = [];
  for (let i = 1; i <= ENDPOINTS; i++) {
    const origin = new Origin(`${service}-${i}@${cluster}`, ORIGIN_DELAY_MS, clock);
    await origin.start();
    origins.push(origin);
  }
  return origins;
}

function addAll(
  all: Resources,
  cluster: ClusterName,
  gateway: number,
  origins: ReadonlyMap<string, readonly Origin[]>,
): void {
  const portsOf = (service: DemoService): number[] =>
    origins.get(key(cluster, service))!.map(({ port }) => port);
  const endpoints = { menu: portsOf("menu"), orders: portsOf("orders") };
  const text = clusterText(cluster, { gateway, endpoints });
  const { resources, problems } = parseResources(text, `demo/${cluster}.yaml`);
  if (problems.length > 0) throw new Error(problems.map(formatProblem).join("\n"));
  for (const kind of Object.keys(all) as Array<keyof Resources>) {
    (all[kind] as unknown[]).push(...resources[kind]);
  }
}

function key(cluster: ClusterName, service: DemoService): string {
  return `${service}@${cluster}`;
}
