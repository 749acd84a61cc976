import type { IdentitySource } from "#certs/identity/identity.ts";
import type { Millis } from "#kernel/brand.ts";
import type { Clock } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";
import { Metrics, type MetricsData } from "#kernel/metrics.ts";
import type { Rng } from "#kernel/rng.ts";
import { TimerWheel } from "#kernel/timer_wheel.ts";
import type { ClusterName } from "#model/names.ts";
import type { ServiceReport } from "#model/report.ts";
import type { Snapshot } from "#model/snapshot.ts";
import { registerChecks } from "#proxy/app/check_metrics.ts";
import type { DataPlane, ListenerStatus } from "#proxy/app/data_plane.ts";
import { type AskedRequest, type Explanation, explain } from "#proxy/app/explain.ts";
import { HealthWatch } from "#proxy/app/health_watch.ts";
import { HeldPorts } from "#proxy/app/held_ports.ts";
import { type Inventory, takeInventory } from "#proxy/app/inventory.ts";
import { ListenerSet } from "#proxy/app/listener_set.ts";
import { MeshTls } from "#proxy/app/mesh_tls.ts";
import { ProxyPortOpener } from "#proxy/app/port_opener.ts";
import { registerMetrics } from "#proxy/app/proxy_metrics.ts";
import { SessionSeal } from "#proxy/app/session_seal.ts";
import {
  buildTables,
  checksOf,
  endpointsOf,
  linksOf,
  reportOf,
  withEndpointTls,
} from "#proxy/app/tables.ts";
import { CONNECTION_LIMITS } from "#proxy/exchange/limits.ts";
import { EndpointChecker, type EndpointVerdict } from "#proxy/health/endpoint_checker.ts";
import { LinkProber } from "#proxy/health/link_probe.ts";
import { groupPorts } from "#proxy/listen/port_groups.ts";
import type { LineLog } from "#proxy/observe/line_log.ts";
import { RequestStats } from "#proxy/observe/service_stats.ts";
import { Dispatcher, type Tables } from "#proxy/relay/dispatcher.ts";
import { TcpUpstreams } from "#proxy/tcp/upstream.ts";
import { HttpUpstreams } from "#proxy/upstream/http_upstreams.ts";
import { UpstreamCounters } from "#proxy/upstream/upstream_counters.ts";

export interface LocalPlaneOptions {
  /** The cluster it stands in: its name in hops, in `Proxy-Status` and to probes. */
  readonly cluster: ClusterName;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: Logger;
  /** Failure domain of its cluster that it stands in; absent: not told. */
  readonly zone?: string | undefined;
  /** Processes of this proxy that share its traffic; absent: it is alone. */
  readonly workers?: number;
  /** Needed for MESH listeners and for endpoints that must prove who they are. */
  readonly identity?: IdentitySource;
  /** Shares its ports with other processes (SO_REUSEPORT). */
  readonly reusePort: boolean;
  /** Of these ports it is known that only processes of this proxy have them; absent: none. */
  readonly held?: HeldPorts;
  /** Of TLS sessions, where other processes are to resume them too; 48 bytes. */
  readonly ticketKeys?: Buffer;
  readonly accessLog?: LineLog;
  /** Name of this process in metrics; left out: somebody else tells what the process costs. */
  readonly process?: string;
  /** Of all its metrics, where a process has more than one data plane. */
  readonly labels?: Readonly<Record<string, string>>;
  /**
   * Takes the verdicts of this process's checks to the others. Then checks are sent only once `setChecking` says so;
   * absent: this process is alone, and sends them.
   */
  readonly tellVerdict?: (verdict: EndpointVerdict) => void;
}

/** One process's data plane, from open ports to upstream connections. Wiring only. */
export class LocalPlane implements DataPlane {
  readonly #options: LocalPlaneOptions;
  readonly #wheel: TimerWheel;
  /** What this process does by chance, others do otherwise. */
  readonly #seed: number;
  readonly #stats = new RequestStats();
  readonly #metrics: Metrics;
  readonly #meshTls: MeshTls | undefined;
  readonly #upstreams: HttpUpstreams;
  readonly #rotation: { close(): void } | undefined;
  readonly #listeners: ListenerSet;
  readonly #prober: LinkProber;
  readonly #checker: EndpointChecker;
  readonly #dispatcher: Dispatcher;
  readonly #seal: SessionSeal;
  #health: HealthWatch | undefined = undefined;
  #tables: Tables | undefined = undefined;
  #snapshot: Snapshot | undefined = undefined;

  constructor(options: LocalPlaneOptions) {
    this.#options = options;
    this.#metrics = new Metrics(options.labels);
    const { clock, rng, log, identity, cluster, accessLog } = options;
    const wheel = new TimerWheel(clock);
    this.#wheel = wheel;
    this.#seed = rng.below(0x1_0000_0000);
    this.#meshTls = identity === undefined ? undefined : new MeshTls(identity, clock, log);
    const counters = new UpstreamCounters();
    const upstreams = new HttpUpstreams({
      ...{ clock, wheel, rng, counters },
      tls: (endpoint) => this.#meshTls?.towards(endpoint),
      limits: CONNECTION_LIMITS,
    });
    this.#upstreams = upstreams;
    this.#rotation = identity?.onRotate(() => upstreams.renew());
    const raw = new TcpUpstreams({
      ...{ wheel, counters },
      connectTimeoutMs: (endpoint) => upstreams.policy(endpoint).connectTimeoutMs,
    });
    this.#seal = new SessionSeal(options.ticketKeys);
    this.#dispatcher = new Dispatcher(
      { self: cluster, clock, wheel, rng, upstreams, raw, seal: this.#seal, accessLog },
      this.#stats.unrouted,
    );
    const base = { handler: this.#dispatcher, self: cluster, clock, wheel, log };
    const opener = new ProxyPortOpener({
      ...base,
      reusePort: options.reusePort,
      held: options.held ?? new HeldPorts(),
      meshTls: this.#meshTls,
      accessLog,
      ...(options.ticketKeys === undefined ? {} : { ticketKeys: options.ticketKeys }),
    });
    this.#listeners = new ListenerSet(opener, log);
    this.#prober = new LinkProber({
      clock,
      rng,
      links: upstreams,
      onReading: (link, rttMs) => this.#onLinkReading(link.cluster, rttMs),
    });
    this.#checker = new EndpointChecker({
      ...{ clock, rng, log, upstreams, raw },
      onVerdict: (verdict, isOwn) => this.#onVerdict(verdict, isOwn),
    });
    this.#checker.setActive(options.tellVerdict === undefined);
    registerChecks(this.#metrics, this.#checker);
    registerMetrics(this.#metrics, {
      stats: this.#stats,
      listeners: this.#listeners,
      prober: this.#prober,
      upstreams,
      upstreamCounters: counters,
      services: () => this.#tables?.services.values() ?? [],
      now: () => clock.now(),
      ...(identity === undefined ? {} : { identity }),
      accessLog,
      process: options.process,
    });
  }

  apply(given: Snapshot): void {
    const snapshot = withEndpointTls(given);
    const now = this.#options.clock.now();
    const { zone, workers = 1 } = this.#options;
    const here = { zone, workers, seed: this.#seed };
    this.#tables = buildTables(snapshot, this.#tables, this.#stats, now, here);
    this.#snapshot = snapshot;
    this.#seal.use(snapshot.sessionKey);
    this.#dispatcher.use(this.#tables);
    this.#upstreams.retain(endpointsOf(snapshot));
    this.#prober.watch(linksOf(snapshot));
    this.#checker.watch(checksOf(snapshot));
    this.#listeners.follow(snapshot.listeners);
  }

  /** Whether this process is the one that sends checks. */
  setChecking(checking: boolean): void {
    this.#checker.setActive(checking);
  }

  /** What another process's checks have shown. */
  learn(verdicts: readonly EndpointVerdict[]): void {
    this.#checker.learn(verdicts);
  }

  settled(): Promise<readonly ListenerStatus[]> {
    return this.#listeners.settled();
  }

  /** It is this process itself. */
  setWorkersLogLevel(): void {}

  async inventory(): Promise<readonly Inventory[]> {
    const services = this.#tables?.services.values() ?? [];
    return [takeInventory(services, this.#listeners, this.#upstreams, this.#options.clock.now())];
  }

  reopenLogs(): void {
    this.#options.accessLog?.reopen();
  }

  metricsText(): Promise<string> {
    return this.#metrics.text();
  }

  /** For who adds up several: a primary its workers, a sidecar its two sides. */
  metricsData(): Promise<MetricsData> {
    return this.#metrics.data();
  }

  async reports(): Promise<readonly ServiceReport[]> {
    const now = this.#options.clock.now();
    const services = this.#tables?.services.values() ?? [];
    return Array.from(services, (service) => reportOf(service, now));
  }

  watchHealth(onNews: () => void): void {
    const services = () => this.#tables?.services.values() ?? [];
    this.#health ??= new HealthWatch({ clock: this.#options.clock, services, onNews });
  }

  async explain(asked: AskedRequest): Promise<Explanation> {
    const { cluster, clock } = this.#options;
    const wanted = asked.url.startsWith("https:") ? "HTTPS" : "HTTP";
    const groups = groupPorts(this.#snapshot?.listeners ?? []);
    const listener = groups.find(({ protocol }) => protocol === wanted);
    if (this.#tables === undefined) {
      return { url: asked.url, cluster, services: [], problem: "no configuration yet" };
    }
    const about = { asked, cluster, listener: listener?.name ?? "", wall: clock.wall() };
    return explain(this.#tables, about, clock.now());
  }

  async drain(maxMs: Millis): Promise<void> {
    this.#prober.close();
    this.#checker.close();
    this.#health?.close();
    await this.#listeners.drain(maxMs);
    this.#upstreams.close();
    this.#rotation?.close();
    this.#meshTls?.close();
    await this.#options.accessLog?.close();
    this.#wheel.close();
  }

  #onVerdict(verdict: EndpointVerdict, isOwn: boolean): void {
    const { service, endpoint } = verdict;
    const balancer = this.#tables?.services.get(service)?.balancer;
    balancer?.judge(endpoint, verdict, this.#options.clock.now(), verdict.stalenessMs);
    if (isOwn) this.#options.tellVerdict?.(verdict);
  }

  #onLinkReading(cluster: ClusterName, rttMs: Millis | undefined): void {
    const now = this.#options.clock.now();
    for (const { balancer } of this.#tables?.services.values() ?? []) {
      balancer.linkRtt(cluster, rttMs, now);
    }
  }
}
