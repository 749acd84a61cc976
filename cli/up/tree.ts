import { ClusterRuntime, type RuntimePorts } from "#cli/up/cluster_runtime.ts";
import type { PlannedCluster } from "#cli/up/tree_problems.ts";
import { VERSION } from "#cli/version.ts";

import type { ControlService } from "#control/app/control_service.ts";
import { registerOrders } from "#control/app/order_metrics.ts";
import { orderRoutes } from "#control/app/order_routes.ts";
import { registerPolicies } from "#control/app/policy_metrics.ts";
import { type AdminAnswer, type AdminRoute, jsonAnswer, textAnswer } from "#kernel/admin_http.ts";

import { Metrics, mergedText } from "#kernel/metrics.ts";
import { registerProcess, registerProgram } from "#kernel/process_metrics.ts";
import { err, ok, type Result } from "#kernel/result.ts";
import type { ClusterName } from "#model/names.ts";
import type { ListenerStatus } from "#proxy/app/data_plane.ts";
import { askedOf } from "#proxy/app/explain.ts";

/** A whole tree of clusters in this process. */
export class Tree {
  readonly #clusters = new Map<ClusterName, ClusterRuntime>();
  readonly #metrics = new Metrics();

  static async start(planned: readonly PlannedCluster[], ports: RuntimePorts): Promise<Tree> {
    const tree = new Tree();
    for (const cluster of planned) {
      const parent = cluster.parent === undefined ? undefined : tree.cluster(cluster.parent);
      tree.#clusters.set(cluster.name, await ClusterRuntime.start(cluster, parent, ports));
    }
    tree.#registerMetrics();
    return tree;
  }

  /** Throws for a cluster that the tree was not planned with. */
  cluster(name: string): ClusterRuntime {
    const cluster = this.#clusters.get(name as ClusterName);
    if (cluster === undefined) throw new Error(`no cluster ${name}`);
    return cluster;
  }

  clusters(): readonly ClusterRuntime[] {
    return [...this.#clusters.values()];
  }

  /** Every listener of every gateway. */
  async listeners(): Promise<Array<{ cluster: ClusterName; status: ListenerStatus }>> {
    const all: Array<{ cluster: ClusterName; status: ListenerStatus }> = [];
    for (const [cluster, { gateway }] of this.#clusters) {
      for (const status of (await gateway?.process.settled()) ?? []) all.push({ cluster, status });
    }
    return all;
  }

  adminRoutes(): ReadonlyMap<string, AdminRoute> {
    return new Map<string, AdminRoute>([
      ["/ready", () => this.#ready()],
      ["/metrics", () => this.#metricsAnswer()],
      ["/clusters", () => jsonAnswer(200, this.#state())],
      ["/explain", (query) => this.#explain(query)],
      ...orderRoutes((query) => this.#controlOf(query)),
    ]);
  }

  /** Children first: a parent outlives what speaks to it. */
  async close(maxMs: number): Promise<void> {
    for (const cluster of this.clusters().toReversed()) await cluster.close(maxMs);
  }

  async #ready() {
    const failed = (await this.listeners()).filter(({ status }) => status.problem !== undefined);
    if (failed.length === 0) return textAnswer(200, "ready");
    const lines = failed.map(({ cluster, status }) => `${cluster}: ${status.problem}`);
    return textAnswer(503, lines.join("\n"));
  }

  async #metricsAnswer() {
    const parts = [await this.#metrics.data()];
    for (const { gateway } of this.#clusters.values()) {
      if (gateway !== undefined) parts.push(await gateway.plane.metricsData());
    }
    const contentType = "text/plain; version=0.0.4; charset=utf-8";
    return { status: 200, contentType, body: await mergedText(parts) };
  }

  #state() {
    return this.clusters().map(({ control, planned, gateway }) => ({
      cluster: planned.name,
      parent: planned.parent ?? null,
      parentLink: control.parentLease ?? null,
      gateway: gateway === undefined ? "down" : "up",
      own: control.catalog.own.map(({ name }) => name),
      children: control.catalog.children.map(({ cluster, freshness, facts }) => ({
        cluster,
        freshness,
        services: [...facts.keys()],
      })),
      view: control.catalog.view,
    }));
  }

  /** Of the cluster that is asked; the core, if none is named. */
  #controlOf(query: URLSearchParams): Result<ControlService, AdminAnswer> {
    const [core] = this.clusters();
    const from = query.get("from");
    const asked = from === null ? core : this.#clusters.get(from as ClusterName);
    if (asked !== undefined) return ok(asked.control);
    return err(
      textAnswer(404, `no cluster "${from}"; there are: ${[...this.#clusters.keys()].join(" ")}`),
    );
  }

  async #explain(query: URLSearchParams) {
    const from = query.get("from") ?? "";
    const asked = askedOf(query);
    if (!asked.ok) return textAnswer(400, asked.error);
    const gateway = this.#clusters.get(from as ClusterName)?.gateway;
    if (gateway === undefined) {
      const known = [...this.#clusters.keys()].join(" ");
      if (from === "") return textAnswer(400, `say from where (--from); there are: ${known}`);
      return textAnswer(404, `no gateway in "${from}"; there are: ${known}`);
    }
    return jsonAnswer(200, await gateway.plane.explain(asked.value));
  }

  #registerMetrics(): void {
    registerProgram(this.#metrics, VERSION);
    registerProcess(this.#metrics, "main");
    registerOrders(this.#metrics, () => this.clusters().map(({ control }) => control));
    const labels = ["cluster"];
    const each = (value: (cluster: ClusterRuntime) => number) =>
      this.clusters().map((c) => ({ labels: [c.planned.name as string], value: value(c) }));
    this.#metrics.gauge(
      { name: "espalier_catalog_children", help: "Children that are not expired.", labels },
      () => each(({ control }) => control.catalog.children.length),
    );
    registerPolicies(this.#metrics, () => this.clusters().map(({ control }) => control));
    this.#metrics.gauge(
      { name: "espalier_catalog_view_entries", help: "Entries known of the rest.", labels },
      () => each(({ control }) => control.catalog.view.length),
    );
  }
}
