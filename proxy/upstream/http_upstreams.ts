import { type ConnectionOptions, connect as connectTls } from "node:tls";
import type { Millis } from "#kernel/brand.ts";
import type { TimerWheel } from "#kernel/timer_wheel.ts";
import type { Endpoint } from "#model/snapshot.ts";
import type { AnswerSink, RequestHead, UpstreamStream } from "#proxy/exchange/exchange.ts";
import { type Failure, failure } from "#proxy/exchange/failure.ts";
import type { ReadInto } from "#proxy/http1/held_buffers.ts";
import { HTTP1_LIMITS, type Http1Limits } from "#proxy/http1/limits.ts";
import { UpstreamConnection } from "#proxy/http1/upstream.ts";
import { AnswerFirstSocket } from "#proxy/upstream/answer_first_socket.ts";
import { endpointKey, type Upstreams } from "#proxy/upstream/upstreams.ts";

/** Connections to one endpoint; a request beyond them is refused at once (Envoy: 1024). */
const CONNECTIONS_MAX = 1_024;
const CONNECT_TIMEOUT_MS: Millis = 1_000;
/** Below the idle time-outs that servers commonly have, so that they seldom close under a request. */
const IDLE_TIMEOUT_MS: Millis = 30_000;

export interface HttpUpstreamsOptions {
  readonly wheel: TimerWheel;
  /** How to prove who we are to an endpoint that has an identity; undefined: we cannot. */
  readonly tls: (endpoint: Endpoint) => ConnectionOptions | undefined;
  readonly limits?: Http1Limits;
  readonly connectTimeoutMs?: Millis;
  readonly idleTimeoutMs?: Millis;
  readonly connectionsMax?: number;
}

/** Connections per endpoint, as metrics show them. */
export interface PoolCount {
  readonly endpoint: string;
  readonly open: number;
  readonly idle: number;
}

/** HTTP/1.1 connections to endpoints: a stack of idle ones each, the newest first. */
export class HttpUpstreams implements Upstreams {
  readonly #options: HttpUpstreamsOptions;
  readonly #pools = new Map<string, EndpointPool>();
  /** The same pools by the endpoint objects of snapshots: no text is built per request. */
  readonly #byEndpoint = new WeakMap<Endpoint, EndpointPool>();

  constructor(options: HttpUpstreamsOptions) {
    this.#options = options;
  }

  open(endpoint: Endpoint, head: RequestHead, sink: AnswerSink): UpstreamStream {
    let pool = this.#byEndpoint.get(endpoint);
    if (pool === undefined || pool.retired) pool = this.#poolOf(endpoint);
    return pool.open(endpoint, head, sink);
  }

  sever(endpoint: Endpoint): void {
    this.#pools.get(endpointKey(endpoint))?.failAll(failure("link_down", endpoint.address));
  }

  retain(keep: Iterable<Endpoint>): void {
    const wanted = new Set<string>();
    for (const endpoint of keep) wanted.add(endpointKey(endpoint));
    for (const [key, pool] of this.#pools) {
      if (wanted.has(key)) continue;
      this.#pools.delete(key);
      pool.retire();
    }
  }

  *counts(): Iterable<PoolCount> {
    for (const [endpoint, pool] of this.#pools) {
      yield { endpoint, open: pool.size, idle: pool.idle };
    }
  }

  close(): void {
    this.retain([]);
  }

  #poolOf(endpoint: Endpoint): EndpointPool {
    const key = endpointKey(endpoint);
    let pool = this.#pools.get(key);
    if (pool === undefined) {
      pool = new EndpointPool(this.#options);
      this.#pools.set(key, pool);
    }
    this.#byEndpoint.set(endpoint, pool);
    return pool;
  }
}

class EndpointPool {
  readonly #options: HttpUpstreamsOptions;
  readonly #idle: UpstreamConnection[] = [];
  readonly #all = new Set<UpstreamConnection>();
  /** No snapshot names the endpoint any more. */
  retired = false;

  constructor(options: HttpUpstreamsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#all.size;
  }

  get idle(): number {
    return this.#idle.length;
  }

  open(endpoint: Endpoint, head: RequestHead, sink: AnswerSink): UpstreamStream {
    const connection = this.#idle.pop() ?? this.#connect(endpoint);
    if (connection instanceof UpstreamConnection) {
      connection.begin(head, sink);
      return connection;
    }
    return new RefusedStream(connection, sink);
  }

  failAll(reason: Failure): void {
    for (const connection of [...this.#all]) connection.fail(reason);
  }

  retire(): void {
    this.retired = true;
    for (const connection of this.#idle.splice(0)) connection.fail(failure("draining", ""));
  }

  onIdle(connection: UpstreamConnection): void {
    if (this.retired) connection.fail(failure("draining", ""));
    else this.#idle.push(connection);
  }

  onClosed(connection: UpstreamConnection): void {
    this.#all.delete(connection);
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
  }

  #connect(endpoint: Endpoint): UpstreamConnection | Failure {
    const { wheel, limits, tls, connectTimeoutMs, idleTimeoutMs } = this.#options;
    const max = this.#options.connectionsMax ?? CONNECTIONS_MAX;
    if (this.#all.size >= max) return failure("overloaded", `${max} connections`);
    const secure = endpoint.identity === undefined ? undefined : tls(endpoint);
    if (endpoint.identity !== undefined && secure === undefined) {
      return failure("tls_failed", "no identity of our own");
    }
    const target = {
      host: endpoint.address,
      port: endpoint.port,
      noDelay: true,
      allowHalfOpen: true,
    };
    const dial = (onread: ReadInto) =>
      secure === undefined
        ? new AnswerFirstSocket({ ...target, onread }).connect(target)
        : // `onread` is missing from the types of `tls.connect`, which passes it on all the same.
          connectTls({ ...secure, ...target, ...{ onread } } as ConnectionOptions);
    const connection = new UpstreamConnection({
      dial,
      readyEvent: secure === undefined ? "connect" : "secureConnect",
      owner: this,
      wheel,
      limits: limits ?? HTTP1_LIMITS,
      connectTimeoutMs: connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
      idleTimeoutMs: idleTimeoutMs ?? IDLE_TIMEOUT_MS,
    });
    this.#all.add(connection);
    return connection;
  }
}

/** A request that found no connection: it fails once `open` has returned. */
class RefusedStream implements UpstreamStream {
  #cancelled = false;

  constructor(reason: Failure, sink: AnswerSink) {
    process.nextTick(() => {
      if (!this.#cancelled) sink.onFailure(reason);
    });
  }

  sendBody(): boolean {
    return true;
  }

  sendEnd(): void {}

  resume(): void {}

  cancel(): void {
    this.#cancelled = true;
  }
}
