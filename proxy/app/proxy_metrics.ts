import type { IdentitySource } from "#certs/identity/identity.ts";
import type { Metrics, Sample } from "#kernel/metrics.ts";
import { registerProcess } from "#kernel/process_metrics.ts";
import { registerAdmission } from "#proxy/app/admit_metrics.ts";
import { registerHealth } from "#proxy/app/health_metrics.ts";
import { registerHttp2 } from "#proxy/app/http2_metrics.ts";
import type { ListenerSet } from "#proxy/app/listener_set.ts";
import { registerRouting } from "#proxy/app/routing_metrics.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import type { LinkProber } from "#proxy/health/link_probe.ts";
import type { ListenerTraffic } from "#proxy/listen/client_set.ts";
import type { LineLog } from "#proxy/observe/line_log.ts";
import type { RequestStats } from "#proxy/observe/service_stats.ts";
import type { ServiceRuntime } from "#proxy/relay/plan.ts";
import type { HttpUpstreams } from "#proxy/upstream/http_upstreams.ts";
import {
  CLOSE_REASONS,
  CONNECT_FAILURES,
  type UpstreamCounters,
} from "#proxy/upstream/upstream_counters.ts";

/** Where a data plane's numbers are. Everything is read at scrape time. */
export interface MetricSources {
  readonly stats: RequestStats;
  readonly listeners: ListenerSet;
  readonly prober: LinkProber;
  readonly upstreams: HttpUpstreams;
  readonly upstreamCounters: UpstreamCounters;
  readonly services: () => Iterable<ServiceRuntime>;
  readonly now: () => number;
  readonly identity?: IdentitySource;
  readonly accessLog?: LineLog | undefined;
  /** Name of this process; undefined: what it costs is told by somebody else. */
  readonly process: string | undefined;
}

/** Registers everything that a data plane counts. */
export function registerMetrics(metrics: Metrics, sources: MetricSources): void {
  sources.stats.register(metrics);
  if (sources.process !== undefined) registerProcess(metrics, sources.process);
  registerAdmission(metrics, sources.services);
  registerRouting(metrics, sources);
  registerEndpoints(metrics, sources);
  registerHealth(metrics, sources.services);
  registerLinks(metrics, sources.prober);
  registerConnections(metrics, sources);
  registerUpstreams(metrics, sources);
  registerHttp2(metrics, sources.listeners, sources.upstreamCounters.http2);
  const { identity, accessLog } = sources;
  metrics.counter(
    {
      name: "espalier_access_log_dropped_total",
      help: "Lines of the access log that could not be written.",
      labels: [],
    },
    () => [{ labels: [], value: accessLog?.dropped ?? 0 }],
  );
  if (identity === undefined) return;
  metrics.gauge(
    {
      name: "espalier_identity_not_after_seconds",
      help: "End of the proxy's certificate, Unix time.",
      labels: [],
      merge: "min",
    },
    () => [{ labels: [], value: identity.current().notAfter / 1000 }],
  );
}

/** Workers judge endpoints each by its own requests: the gloomiest is shown. */
function registerEndpoints(metrics: Metrics, { services, now }: MetricSources): void {
  const labels = ["service", "cluster"];
  const perLocale = (count: (endpoints: readonly EndpointState[]) => number): Sample[] => {
    const samples: Sample[] = [];
    for (const { name, balancer } of services()) {
      for (const { cluster, endpoints } of balancer.locales) {
        samples.push({ labels: [name, cluster], value: count(endpoints) });
      }
    }
    return samples;
  };
  metrics.gauge(
    {
      name: "espalier_endpoints",
      help: "Endpoints of a service, by cluster.",
      labels,
      merge: "max",
    },
    () => perLocale((endpoints) => endpoints.length),
  );
  metrics.gauge(
    {
      name: "espalier_endpoints_ejected",
      help: "Endpoints that get no requests because they failed.",
      labels,
      merge: "max",
    },
    () => perLocale((endpoints) => endpoints.filter((one) => one.isEjected(now())).length),
  );
  metrics.gauge(
    {
      name: "espalier_endpoints_unhealthy",
      help: "Endpoints that get no requests because health checks failed.",
      labels,
      merge: "max",
    },
    () => perLocale((endpoints) => endpoints.filter((one) => one.isUnhealthy).length),
  );
}

function registerLinks(metrics: Metrics, prober: LinkProber): void {
  const labels = ["cluster", "gateway"];
  const perLink = (value: (state: { up: boolean; rttMs: number | undefined }) => number) =>
    [...prober.states()].map(({ link, state }) => ({
      labels: [link.cluster, `${link.endpoint.address}:${link.endpoint.port}`],
      value: value(state),
    }));
  metrics.gauge(
    {
      name: "espalier_link_up",
      help: "1 if the gateway answers our probes.",
      labels,
      merge: "min",
    },
    () => perLink(({ up }) => (up ? 1 : 0)),
  );
  metrics.gauge(
    {
      name: "espalier_link_rtt_seconds",
      help: "Smoothed round trip to a gateway.",
      labels,
      merge: "average",
    },
    () => perLink(({ rttMs }) => (rttMs ?? 0) / 1000),
  );
}

function registerConnections(metrics: Metrics, { listeners }: MetricSources): void {
  const perListener = (read: (c: { accepted: number; open: number }) => number) =>
    [...listeners.opened()].map(({ name, port }) => ({
      labels: [name],
      value: read(port.counters),
    }));
  const labels = ["listener"];
  metrics.counter(
    { name: "espalier_connections_accepted_total", help: "Connections accepted.", labels },
    () => perListener((c) => c.accepted),
  );
  metrics.gauge(
    { name: "espalier_connections_open", help: "Clients' connections open now.", labels },
    () => perListener((c) => c.open),
  );
  metrics.gauge(
    {
      name: "espalier_connections_limit",
      help: "Clients' connections that may be open at a time.",
      labels,
    },
    () =>
      [...listeners.opened()].map(({ name, port }) => ({
        labels: [name],
        value: port.connectionsMax(),
      })),
  );
  registerTraffic(metrics, listeners);
  metrics.counter(
    {
      name: "espalier_connections_refused_total",
      help: "Connections closed at once: the port was full, file descriptors ran out, TLS failed, or a PROXY header or ClientHello was none.",
      labels: ["listener", "reason"],
    },
    () =>
      [...listeners.opened()].flatMap(({ name, port }) => [
        { labels: [name, "full"], value: port.counters.full },
        { labels: [name, "files"], value: port.counters.noFiles },
        { labels: [name, "tls"], value: port.counters.tlsRefused },
        { labels: [name, "preamble"], value: port.counters.preambleRefused },
      ]),
  );
  metrics.counter(
    {
      name: "espalier_requests_refused_total",
      help: "Requests that a codec did not pass on, by reason.",
      labels: ["listener", "reason"],
    },
    () =>
      [...listeners.opened()].flatMap(({ name, port }) =>
        [...port.counters.refused].map(([kind, value]) => ({ labels: [name, kind], value })),
      ),
  );
}

function registerUpstreams(
  metrics: Metrics,
  { upstreams, upstreamCounters: counters }: MetricSources,
): void {
  metrics.gauge(
    {
      name: "espalier_upstream_connections",
      help: "Connections to an endpoint, by state.",
      labels: ["endpoint", "state"],
    },
    () =>
      [...upstreams.counts()].flatMap(({ endpoint, open, idle }) => [
        { labels: [endpoint, "busy"], value: open - idle },
        { labels: [endpoint, "idle"], value: idle },
      ]),
  );
  metrics.gauge(
    {
      name: "espalier_upstream_pending",
      help: "Requests that wait for a connection to an endpoint.",
      labels: ["endpoint"],
    },
    () =>
      [...upstreams.counts()].map(({ endpoint, pending: value }) => ({
        labels: [endpoint],
        value,
      })),
  );
  const count = (name: string, help: string, value: () => number): void =>
    metrics.counter({ name, help, labels: [] }, () => [{ labels: [], value: value() }]);
  const byReason = <N extends string>(
    name: string,
    help: string,
    reasons: readonly N[],
    counts: Readonly<Record<N, number>>,
  ): void =>
    metrics.counter({ name, help, labels: ["reason"] }, () =>
      reasons.map((reason) => ({ labels: [reason], value: counts[reason] })),
    );
  count(
    "espalier_upstream_connections_opened_total",
    "Connections to endpoints that came about.",
    () => counters.opened,
  );
  byReason(
    "espalier_upstream_connections_closed_total",
    "Connections to endpoints that were closed, by reason.",
    CLOSE_REASONS,
    counters.closed,
  );
  byReason(
    "espalier_upstream_connect_failures_total",
    "Connections to endpoints that did not come about, by reason.",
    CONNECT_FAILURES,
    counters.connectFailures,
  );
  count(
    "espalier_upstream_pending_total",
    "Requests that found all connections of an endpoint busy, and waited for one.",
    () => counters.waited,
  );
  count(
    "espalier_upstream_pending_overflow_total",
    "Requests that failed because too many waited for a connection.",
    () => counters.overflowed,
  );
  count(
    "espalier_upstream_pending_timeout_total",
    "Requests that waited for a connection in vain.",
    () => counters.timedOut,
  );
}

function registerTraffic(metrics: Metrics, listeners: ListenerSet): void {
  const perListener = (read: (traffic: ListenerTraffic) => number): Sample[] =>
    [...listeners.opened()].map(({ name, port }) => ({
      labels: [name],
      value: read(port.traffic()),
    }));
  const labels = ["listener"];
  metrics.counter(
    {
      name: "espalier_listener_requests_total",
      help: "Requests whose head was read, and TCP connections.",
      labels,
    },
    () => perListener(({ requests }) => requests),
  );
  metrics.counter(
    { name: "espalier_listener_received_bytes_total", help: "Bytes from clients.", labels },
    () => perListener(({ bytesIn }) => bytesIn),
  );
  metrics.counter(
    { name: "espalier_listener_sent_bytes_total", help: "Bytes to clients.", labels },
    () => perListener(({ bytesOut }) => bytesOut),
  );
}
