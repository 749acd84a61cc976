import type { IdentitySource } from "#certs/identity/identity.ts";
import type { Millis } from "#kernel/brand.ts";
import type { Clock } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";
import { Metrics, type MetricsData } from "#kernel/metrics.ts";
import { ok, type Result } from "#kernel/result.ts";
import type { Rng } from "#kernel/rng.ts";
import { TimerWheel } from "#kernel/timer_wheel.ts";
import type { ClusterName } from "#model/names.ts";
import type { ServiceReport } from "#model/report.ts";
import type { Listener, Snapshot } from "#model/snapshot.ts";
import type { DataPlane, ListenerStatus } from "#proxy/app/data_plane.ts";
import { type AskedRequest, type Explanation, explain } from "#proxy/app/explain.ts";
import { ListenerSet } from "#proxy/app/listener_set.ts";
import { MeshTls } from "#proxy/app/mesh_tls.ts";
import { registerMetrics } from "#proxy/app/proxy_metrics.ts";
import { buildTables, endpointsOf, linksOf } from "#proxy/app/tables.ts";
import { LinkProber } from "#proxy/health/link_probe.ts";
import { listen, type OpenListener } from "#proxy/listen/listener.ts";
import { RequestStats } from "#proxy/observe/service_stats.ts";
import { Dispatcher, PING_TARGET, type Tables } from "#proxy/relay/dispatcher.ts";
import type { Verdict } from "#proxy/subscribe/source.ts";
import { HttpUpstreams } from "#proxy/upstream/http_upstreams.ts";

export interface LocalPlaneOptions {
  /** The cluster it stands in: its name in hops, in `Proxy-Status` and to probes. */
  readonly cluster: ClusterName;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: Logger;
  /** Needed for MESH listeners and for endpoints that must prove who they are. */
  readonly identity?: IdentitySource;
  /** Shares its ports with other processes (SO_REUSEPORT). */
  readonly reusePort: boolean;
}

/** One process's data plane, from open ports to upstream connections. Wiring only. */
export class LocalPlane implements DataPlane {
  readonly #options: LocalPlaneOptions;
  readonly #wheel: TimerWheel;
  readonly #stats = new RequestStats();
  readonly #metrics = new Metrics();
  readonly #meshTls: MeshTls | undefined;
  readonly #upstreams: HttpUpstreams;
  readonly #listeners: ListenerSet;
  readonly #prober: LinkProber;
  readonly #dispatcher: Dispatcher;
  #tables: Tables | undefined = undefined;
  #snapshot: Snapshot | undefined = undefined;

  constructor(options: LocalPlaneOptions) {
    this.#options = options;
    const { clock, rng, log, identity, cluster } = options;
    const wheel = new TimerWheel(clock);
    this.#wheel = wheel;
    this.#meshTls = identity === undefined ? undefined : new MeshTls(identity, clock, log);
    const upstreams = new HttpUpstreams({
      wheel,
      tls: (endpoint) => this.#meshTls?.towards(endpoint),
    });
    this.#upstreams = upstreams;
    this.#dispatcher = new Dispatcher(
      { self: cluster, clock, wheel, rng, upstreams },
      this.#stats.unrouted,
    );
    this.#listeners = new ListenerSet((listener) => this.#open(listener), log);
    this.#prober = new LinkProber({
      clock,
      rng,
      upstreams,
      pingTarget: PING_TARGET,
      onReading: (link, rttMs) => this.#onLinkReading(link.cluster, rttMs),
    });
    registerMetrics(this.#metrics, {
      stats: this.#stats,
      listeners: this.#listeners,
      prober: this.#prober,
      upstreams,
      services: () => this.#tables?.services.values() ?? [],
      now: () => clock.now(),
      ...(identity === undefined ? {} : { identity }),
    });
  }

  apply(snapshot: Snapshot): Verdict {
    const { revision } = snapshot;
    const now = this.#options.clock.now();
    this.#tables = buildTables(snapshot, this.#tables, this.#stats, now);
    this.#snapshot = snapshot;
    this.#dispatcher.use(this.#tables);
    this.#upstreams.retain(endpointsOf(snapshot));
    this.#prober.watch(linksOf(snapshot));
    this.#listeners.follow(snapshot.listeners);
    return { kind: "ack", revision };
  }

  settled(): Promise<readonly ListenerStatus[]> {
    return this.#listeners.settled();
  }

  metricsText(): Promise<string> {
    return this.#metrics.text();
  }

  /** For a primary that adds up its workers. */
  metricsData(): Promise<MetricsData> {
    return this.#metrics.data();
  }

  async reports(): Promise<readonly ServiceReport[]> {
    const reports: ServiceReport[] = [];
    for (const { name, balancer, stats } of this.#tables?.services.values() ?? []) {
      const { healthy, p50Ms } = balancer.localHealth(this.#options.clock.now());
      const report = { service: name, healthy, inflight: stats.inflight };
      reports.push(p50Ms === undefined ? report : { ...report, p50Ms });
    }
    return reports;
  }

  async explain(asked: AskedRequest): Promise<Explanation> {
    const { cluster, clock } = this.#options;
    const listener = this.#snapshot?.listeners.find(({ protocol }) => protocol === "HTTP");
    if (this.#tables === undefined) {
      return { url: asked.url, cluster, services: [], problem: "no configuration yet" };
    }
    return explain(this.#tables, { asked, cluster, listener: listener?.name ?? "" }, clock.now());
  }

  async drain(maxMs: Millis): Promise<void> {
    this.#prober.close();
    await this.#listeners.drain(maxMs);
    this.#upstreams.close();
    this.#meshTls?.close();
    this.#wheel.close();
  }

  #onLinkReading(cluster: ClusterName, rttMs: Millis | undefined): void {
    const now = this.#options.clock.now();
    for (const { balancer } of this.#tables?.services.values() ?? []) {
      balancer.linkRtt(cluster, rttMs, now);
    }
  }

  async #open(listener: Listener): Promise<Result<OpenListener, string>> {
    const { clock, reusePort, cluster } = this.#options;
    const [handler, wheel] = [this.#dispatcher, this.#wheel];
    const base = { listener, handler, self: cluster, clock, wheel, reusePort };
    if (listener.protocol === "HTTP") return listen(base);
    if (this.#meshTls === undefined) {
      return { ok: false, error: "a MESH listener needs an identity" };
    }
    const opened = await listen({ ...base, tls: this.#meshTls.forServer() });
    return opened.ok ? ok(this.#meshTls.keepCurrent(opened.value)) : opened;
  }
}
