import type { Millis } from "#kernel/brand.ts";
import type { AlpnProtocol } from "#model/app_protocol.ts";
import type { Endpoint } from "#model/snapshot.ts";
import type { AnswerSink, RequestHead, UpstreamStream } from "#proxy/exchange/exchange.ts";
import { failure } from "#proxy/exchange/failure.ts";
import { AgreedPool } from "#proxy/upstream/agreed_pool.ts";
import {
  CONNECTION_POLICY,
  type ConnectionPolicy,
  MESH_POLICY,
  policyOf,
  strictest,
} from "#proxy/upstream/connection_policy.ts";
import { EndpointPool } from "#proxy/upstream/endpoint_pool.ts";
import { tlsId, verifiedName } from "#proxy/upstream/endpoint_tls.ts";
import { MultiplexedPool } from "#proxy/upstream/multiplexed_pool.ts";
import type { Pool, PoolOptions } from "#proxy/upstream/pool.ts";
import { RefusedStream } from "#proxy/upstream/refused_stream.ts";
import {
  type EndpointRules,
  endpointKey,
  type Links,
  type Upstreams,
} from "#proxy/upstream/upstreams.ts";

/** Connections per endpoint, as metrics show them. */
export interface PoolCount {
  readonly endpoint: string;
  readonly open: number;
  readonly idle: number;
  /** Requests that wait for one of them. */
  readonly pending: number;
  /** What they speak; null: TLS has not agreed on it yet. */
  readonly protocol: AlpnProtocol | null;
}

/** Connections to endpoints: a pool each, of the protocol that the endpoint speaks. */
export class HttpUpstreams implements Upstreams, Links {
  readonly #options: PoolOptions;
  readonly #pools = new Map<string, Pool>();
  /** The same pools by the endpoint objects of snapshots: no text is built per request. */
  readonly #byEndpoint = new WeakMap<Endpoint, Pool>();
  #policies: ReadonlyMap<string, ConnectionPolicy> = new Map();
  /** A snapshot has said which endpoints there are. */
  #isTold = false;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  open(endpoint: Endpoint, head: RequestHead, sink: AnswerSink, atOnce = false): UpstreamStream {
    let pool = this.#byEndpoint.get(endpoint);
    if (pool === undefined || pool.retired) {
      // Whoever was sent there before a wait: what the endpoint speaks and bears is not known any more.
      if (this.#isTold && !this.#policies.has(poolKey(endpoint))) {
        const detail = `${endpoint.address}:${endpoint.port} is no endpoint any more`;
        return new RefusedStream(failure("connect_refused", detail), sink);
      }
      pool = this.#poolOf(endpoint);
    }
    return pool.open(endpoint, head, sink, atOnce);
  }

  ping(endpoint: Endpoint, done: (rttMs: Millis | undefined) => void): void {
    const pool = this.#poolOf(endpoint);
    // Proxies of the mesh speak HTTP/2: whatever does not is none.
    if (pool instanceof MultiplexedPool) pool.ping(endpoint, done);
    else process.nextTick(done, undefined);
  }

  sever(endpoint: Endpoint): void {
    this.#pools.get(poolKey(endpoint))?.sever(endpoint.address);
  }

  retain(keep: Iterable<EndpointRules>): void {
    this.#policies = policiesOf(keep);
    this.#isTold = true;
    for (const [key, pool] of this.#pools) {
      const policy = this.#policies.get(key);
      // A pool speaks one protocol.
      if (policy !== undefined && policy.http2 === pool instanceof MultiplexedPool) {
        pool.follow(policy);
        continue;
      }
      this.#pools.delete(key);
      pool.retire();
    }
  }

  /** The proxy has a new identity: no connection outlives the certificate that it was opened with. */
  renew(): void {
    for (const pool of this.#pools.values()) if (pool instanceof MultiplexedPool) pool.renew();
  }

  /** The limits in force for an endpoint. */
  policy(endpoint: Endpoint): ConnectionPolicy {
    const known = this.#policies.get(poolKey(endpoint));
    return known ?? (endpoint.identity === undefined ? CONNECTION_POLICY : MESH_POLICY);
  }

  *counts(): Iterable<PoolCount> {
    for (const [endpoint, pool] of this.#pools) {
      const { size: open, idle, pending, protocol = null } = pool;
      yield { endpoint, open, idle, pending, protocol };
    }
  }

  close(): void {
    for (const pool of this.#pools.values()) pool.close();
    this.#pools.clear();
  }

  #poolOf(endpoint: Endpoint): Pool {
    const key = poolKey(endpoint);
    let pool = this.#pools.get(key);
    if (pool === undefined) {
      const policy = this.policy(endpoint);
      const Kind = kindOf(endpoint, policy);
      pool = new Kind(this.#options, policy);
      this.#pools.set(key, pool);
    }
    this.#byEndpoint.set(endpoint, pool);
    return pool;
  }
}

/** Services may name one address and expect different servers there: each is verified as its service says. */
function poolKey(endpoint: Endpoint): string {
  const { tls } = endpoint;
  const place = endpointKey(endpoint);
  return tls === undefined ? place : `${place} ${verifiedName(endpoint, tls)} ${tlsId(tls)}`;
}

function kindOf({ tls }: Endpoint, { http2 }: ConnectionPolicy) {
  if (tls !== undefined && tls.alpn.length > 1) return AgreedPool;
  const isHttp2 = tls === undefined ? http2 : tls.alpn[0] === "h2";
  return isHttp2 ? MultiplexedPool : EndpointPool;
}

function policiesOf(places: Iterable<EndpointRules>): Map<string, ConnectionPolicy> {
  const policies = new Map<string, ConnectionPolicy>();
  // One object for all endpoints of a service: nothing to compare, and little to keep.
  let lastRules: EndpointRules["rules"];
  let last = CONNECTION_POLICY;
  for (const { endpoint, rules, http2 = false } of places) {
    if (rules !== lastRules || http2 !== last.http2) {
      lastRules = rules;
      last = policyOf(rules, http2);
    }
    const key = poolKey(endpoint);
    const other = policies.get(key);
    policies.set(key, other === undefined ? last : strictest(other, last));
  }
  return policies;
}
