import { pid } from "node:process";
import type { Millis } from "#kernel/brand.ts";
import type { Endpoint } from "#model/snapshot.ts";
import type { ListenerSet } from "#proxy/app/listener_set.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import { explainLocales, type LocaleExplanation } from "#proxy/balance/explain_locales.ts";
import type { CheckVerdict } from "#proxy/health/active_check.ts";
import type { ClientInfo } from "#proxy/listen/client_set.ts";
import type { ServiceRuntime } from "#proxy/relay/plan.ts";
import { verifiedName } from "#proxy/upstream/endpoint_tls.ts";
import type { HttpUpstreams, PoolCount } from "#proxy/upstream/http_upstreams.ts";

/** Client connections that are listed, per process. */
const CLIENTS_MAX = 1_000;
/** What an operator asks about: a request that comes from here and has been nowhere. */
const ANY_REQUEST = { visited: [], tried: [], within: undefined, foreign: false } as const;

/** One endpoint as one process sees it. */
export interface EndpointInfo {
  readonly cluster: string;
  readonly address: string;
  readonly port: number;
  /** Name that it is asked for in TLS of its own; null: it has none, or an identity of the mesh. */
  readonly tls: string | null;
  readonly inflight: number;
  /** Concurrent requests that it has shown to bear from this process; null: no overload has shown it yet. */
  readonly limit: number | null;
  /** Part of its weight that its load reports leave it; null: it has sent none. */
  readonly reportedShare: number | null;
  /** Expected response time. */
  readonly costMs: number;
  readonly failuresInRow: number;
  /** 0: it is not ejected. */
  readonly ejectedForMs: number;
  /** What health checks say, and what the one that decided has seen; null: nothing. */
  readonly check: CheckVerdict | null;
}

/** What one process knows of its endpoints and connections. */
export interface Inventory {
  /** Process id. */
  readonly process: number;
  readonly services: ReadonlyArray<{
    readonly service: string;
    readonly inflight: number;
    readonly locales: readonly LocaleExplanation[];
    readonly endpoints: readonly EndpointInfo[];
  }>;
  /** How many connections of clients are open, and the first 1,000 of them. */
  readonly clientsOpen: number;
  readonly clients: readonly ClientInfo[];
  readonly upstreams: readonly PoolCount[];
}

/** Reads off what the data plane of this process is doing now. */
export function takeInventory(
  services: Iterable<ServiceRuntime>,
  listeners: ListenerSet,
  upstreams: HttpUpstreams,
  now: Millis,
): Inventory {
  const clients: ClientInfo[] = [];
  let clientsOpen = 0;
  for (const { port } of listeners.opened()) {
    for (const client of port.clients()) {
      if (clients.length < CLIENTS_MAX) clients.push(client);
      clientsOpen++;
    }
  }
  return {
    process: pid,
    services: [...services].map((service) => serviceInfo(service, now)),
    clientsOpen,
    clients,
    upstreams: [...upstreams.counts()],
  };
}

function tlsNameOf(endpoint: Endpoint): string | null {
  return endpoint.tls === undefined ? null : verifiedName(endpoint, endpoint.tls);
}

function limitOf({ learnt }: EndpointState): number | null {
  const limit = learnt?.limit ?? Number.POSITIVE_INFINITY;
  return limit === Number.POSITIVE_INFINITY ? null : limit;
}

function serviceInfo({ name, balancer }: ServiceRuntime, now: Millis) {
  const endpoints = balancer.locales.flatMap(({ cluster, endpoints: known }) =>
    known.map((state) => ({
      cluster,
      address: state.endpoint.address,
      port: state.endpoint.port,
      tls: tlsNameOf(state.endpoint),
      inflight: state.inflight,
      limit: limitOf(state),
      reportedShare: state.reported?.share ?? null,
      costMs: state.ewma.read(now),
      failuresInRow: state.outlier.failures,
      ejectedForMs: Math.max(0, Math.round(state.ejectedUntil - now)),
      check: state.verdict ?? null,
    })),
  );
  const locales = explainLocales(balancer, ANY_REQUEST, now);
  return { service: name, inflight: balancer.inflight, locales, endpoints };
}
