import type { Millis } from "#kernel/brand.ts";
import type { ServiceName } from "#model/names.ts";
import type { ServiceReport } from "#model/report.ts";
import type { Locale, Service, ServiceTls, Snapshot } from "#model/snapshot.ts";
import { Admission } from "#proxy/admit/admission.ts";
import { type BalancerPlace, ServiceBalancer } from "#proxy/balance/service_balancer.ts";
import type { CheckTarget } from "#proxy/health/check_request.ts";
import type { Link } from "#proxy/health/link_probe.ts";
import type { RequestStats } from "#proxy/observe/service_stats.ts";
import type { Tables } from "#proxy/relay/dispatcher.ts";
import type { ServiceRuntime } from "#proxy/relay/plan.ts";
import { type BudgetRules, RetryBudget } from "#proxy/retry/budget.ts";
import { HedgeDelay } from "#proxy/retry/hedge_delay.ts";
import { LostWays } from "#proxy/retry/lost_ways.ts";
import { compileStreams } from "#proxy/route/streams.ts";
import { compileRoutes } from "#proxy/route/table.ts";
import { prepareTls } from "#proxy/upstream/endpoint_tls.ts";
import type { EndpointRules } from "#proxy/upstream/upstreams.ts";

/**
 * Builds the tables of `snapshot`; what was learnt about services that stay is carried over.
 * @param here absent: the only process of its cluster, in no zone.
 */
export function buildTables(
  snapshot: Snapshot,
  before: Tables | undefined,
  stats: RequestStats,
  now: Millis,
  here: Omit<BalancerPlace, "self"> = { workers: 1 },
): Tables {
  const place: BalancerPlace = { self: snapshot.cluster, ...here };
  const services = new Map<ServiceName, ServiceRuntime>();
  for (const service of snapshot.services) {
    const known = before?.services.get(service.name);
    const admission = known?.admission ?? new Admission();
    admission.follow(service.policy, place.workers, now);
    services.set(service.name, {
      name: service.name,
      raw: service.appProtocol === "tcp",
      http2: service.appProtocol === "kubernetes.io/h2c",
      proxyProtocol: service.proxyProtocol,
      balancer: new ServiceBalancer(service, place, now, known?.balancer),
      admission,
      ...retriesOf(service, known, now, place.workers),
      stats: stats.of(service.name),
    });
  }
  stats.retain(new Set(services.keys()));
  return {
    mesh: snapshot.mesh,
    self: snapshot.cluster,
    routes: compileRoutes(snapshot),
    streams: compileStreams(snapshot),
    services,
  };
}

function retriesOf(
  { policy }: Service,
  known: ServiceRuntime | undefined,
  now: Millis,
  workers: number,
): Pick<ServiceRuntime, "budget" | "lostWays" | "hedging"> {
  const rules: BudgetRules = { ...policy?.retries, running: policy?.limits?.retries };
  known?.budget.follow(rules, workers);
  const { hedging } = policy ?? {};
  if (hedging !== undefined) known?.hedging?.follow(hedging);
  return {
    budget: known?.budget ?? new RetryBudget(now, rules, workers),
    lostWays: known?.lostWays ?? new LostWays(),
    hedging: hedging && (known?.hedging ?? new HedgeDelay(hedging)),
  };
}

/** What a gateway tells its control service of a service. */
export function reportOf(service: ServiceRuntime, now: Millis): ServiceReport {
  const { name, balancer, stats, admission } = service;
  const { p50Ms, limit, stalenessMs, arrivals, ...always } = balancer.localHealth(now);
  return {
    ...{ service: name, inflight: stats.inflight, ...always },
    arrivals: arrivals + admission.turnedAwayPerSecond(now),
    ...(p50Ms === undefined ? {} : { p50Ms }),
    ...(limit === undefined ? {} : { limit }),
    ...(stalenessMs === undefined ? {} : { stalenessMs }),
  };
}

/** `snapshot` with what services say of TLS at their own endpoints, where connections are made. */
export function withEndpointTls(snapshot: Snapshot): Snapshot {
  const services = snapshot.services.map((service) => {
    const { tls, locales } = service;
    if (tls === undefined) return service;
    // Now, and not under the first request.
    prepareTls(tls);
    return { ...service, locales: locales.map(verifiedBy(tls)) };
  });
  return { ...snapshot, services };
}

function verifiedBy(tls: ServiceTls): (locale: Locale) => Locale {
  return (locale) => {
    if (locale.kind !== "local") return locale;
    const endpoints = locale.endpoints.map((endpoint) =>
      endpoint.identity === undefined ? { ...endpoint, tls } : endpoint,
    );
    return { ...locale, endpoints };
  };
}

/** Every endpoint that `snapshot` may send to. What a service says of connections is not said of gateways. */
export function* endpointsOf(snapshot: Snapshot): Iterable<EndpointRules> {
  for (const { locales, connections, appProtocol } of snapshot.services) {
    for (const { kind, endpoints } of locales) {
      const rules = kind === "local" ? connections : undefined;
      for (const endpoint of endpoints) {
        // Proxies of the mesh all do.
        const http2 = endpoint.identity !== undefined || appProtocol === "kubernetes.io/h2c";
        yield { endpoint, rules, http2 };
      }
    }
  }
}

/** The endpoints of this cluster that `snapshot` wants to be checked. Gateways are watched otherwise: `linksOf`. */
export function* checksOf(snapshot: Snapshot): Iterable<CheckTarget> {
  for (const { name: service, healthCheck: check, ...about } of snapshot.services) {
    if (check === undefined) continue;
    const { appProtocol: protocol, proxyProtocol, locales } = about;
    for (const { kind, endpoints } of locales) {
      if (kind !== "local") continue;
      for (const endpoint of endpoints) yield { service, endpoint, check, protocol, proxyProtocol };
    }
  }
}

/** The gateways of other clusters that `snapshot` names, each once. */
export function linksOf(snapshot: Snapshot): Link[] {
  const links = new Map<string, Link>();
  for (const service of snapshot.services) {
    for (const locale of service.locales) {
      if (locale.kind === "local") continue;
      for (const endpoint of locale.endpoints) {
        links.set(`${locale.cluster} ${endpoint.address} ${endpoint.port}`, {
          cluster: locale.cluster,
          endpoint,
        });
      }
    }
  }
  return [...links.values()];
}
