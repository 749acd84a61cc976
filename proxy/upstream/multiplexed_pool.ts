import type { Millis } from "#kernel/brand.ts";
import type { Endpoint } from "#model/snapshot.ts";
import type { AnswerSink, RequestHead, UpstreamStream } from "#proxy/exchange/exchange.ts";
import { type Failure, failure } from "#proxy/exchange/failure.ts";
import { type Http2Owner, Http2Upstream } from "#proxy/http2/upstream.ts";
import { ConnectionAge, isYoung } from "#proxy/upstream/connection_age.ts";
import type { ConnectionPolicy } from "#proxy/upstream/connection_policy.ts";
import { diallingOf } from "#proxy/upstream/dial.ts";
import type { Pool, PoolOptions } from "#proxy/upstream/pool.ts";
import { RefusedStream } from "#proxy/upstream/refused_stream.ts";
import { failAll, WaitingLine } from "#proxy/upstream/waiting_line.ts";

/** As many connections are used where one would do: a lost packet holds up no more than a part of the requests. */
const SPREAD_OVER = 4;
/** Requests on each connection from which on another is worth its handshake. */
const SPREAD_FROM = 16;
/** Requests that another system call is worth. */
const WRITE_WORTH = 16;
/** Of one connection, for clients that are slow: that of all streams that one is likely to carry. */
const HELD_BYTES_MAX = 16_777_216;

/**
 * The connections to one endpoint over HTTP/2, each of which carries many requests at a time. A request goes to the
 * one with the fewest; who finds no room waits until a request has ended or the endpoint allows more.
 */
export class MultiplexedPool implements Pool, Http2Owner {
  readonly #options: PoolOptions;
  #policy: ConnectionPolicy;
  readonly #all = new Map<Http2Upstream, ConnectionAge>();
  readonly #waiting: WaitingLine;
  #retired = false;

  constructor(options: PoolOptions, policy: ConnectionPolicy) {
    this.#options = options;
    this.#policy = policy;
    this.#waiting = new WaitingLine(options.wheel, options.counters, policy);
  }

  get size(): number {
    return this.#all.size;
  }

  get idle(): number {
    let idle = 0;
    for (const connection of this.#all.keys()) if (connection.running === 0) idle++;
    return idle;
  }

  get pending(): number {
    return this.#waiting.size;
  }

  get retired(): boolean {
    return this.#retired;
  }

  get idleTimeoutMs(): Millis {
    return this.#policy.idleTimeoutMs;
  }

  open(endpoint: Endpoint, head: RequestHead, sink: AnswerSink, atOnce: boolean): UpstreamStream {
    const connection = this.#roomFor(head) ?? this.#another(endpoint, atOnce);
    if (connection instanceof Http2Upstream && connection.mayCarry(head)) {
      return this.#begin(connection, head, sink);
    }
    if (connection !== undefined && "kind" in connection)
      return new RefusedStream(connection, sink);
    const request = this.#waiting.join(endpoint, head, sink);
    if (request !== undefined) return request;
    const detail = `${this.#all.size} connections, ${this.#waiting.size} requests waiting`;
    return new RefusedStream(failure("overloaded", detail), sink);
  }

  follow(policy: ConnectionPolicy): void {
    const before = this.#policy;
    if (policy === before) return;
    this.#policy = policy;
    this.#waiting.policy = policy;
    if (policy.lifetimeMs !== before.lifetimeMs)
      for (const age of this.#all.values()) age.follow(policy);
    let tooMany = this.#all.size - policy.connectionsMax;
    for (const connection of [...this.#all.keys()]) {
      if (tooMany-- > 0) connection.retire("limit");
    }
    this.#serve();
  }

  /** We have a new identity: what runs over the old one ends in peace, what comes goes over the new one. */
  renew(): void {
    for (const connection of [...this.#all.keys()]) {
      if (connection.endpoint.identity !== undefined) connection.retire("lifetime");
    }
  }

  sever(detail: string): void {
    const unsent = failure("connect_refused", `${detail}: link down`);
    const waiting = this.#waiting.clear();
    for (const connection of [...this.#all.keys()]) {
      connection.fail(connection.isReady ? failure("link_down", detail) : unsent, "link");
    }
    failAll(waiting, unsent);
  }

  retire(): void {
    this.#retired = true;
    for (const connection of [...this.#all.keys()]) connection.retire("retired");
  }

  close(): void {
    const waiting = this.#waiting.clear();
    this.retire();
    failAll(waiting, failure("draining", ""));
  }

  // ── Http2Owner ──

  onRoom(): void {
    if (this.#waiting.size > 0) this.#serve();
  }

  onClosing(): void {
    if (this.#waiting.size > 0) this.#serve();
  }

  onClosed(connection: Http2Upstream): void {
    this.#all.get(connection)?.end();
    this.#all.delete(connection);
    if (this.#waiting.size > 0) this.#serve();
  }

  // ── choosing ──

  /** The connection with the fewest requests; undefined: none has room. */
  #roomFor(head: RequestHead): Http2Upstream | undefined {
    let best: Http2Upstream | undefined;
    let usable = 0;
    for (const connection of this.#all.keys()) {
      if (connection.room === 0 || !connection.mayCarry(head)) continue;
      // One that is still being opened is not waited for while there are others.
      usable++;
      if (best === undefined || rank(connection) < rank(best)) best = connection;
    }
    if (best === undefined) return undefined;
    const isWorthOne = best.running >= SPREAD_FROM && usable < SPREAD_OVER;
    if (isWorthOne && usable === this.#all.size && this.#all.size < this.#policy.connectionsMax) {
      this.#connect(best.endpoint);
    }
    return best;
  }

  /** Another connection; undefined: there may be no more. */
  #another(endpoint: Endpoint, atOnce: boolean): Http2Upstream | Failure | undefined {
    if (this.#all.size >= this.#policy.connectionsMax && !atOnce) return undefined;
    // One that cannot say yet whether it takes this request will soon.
    if (!atOnce) {
      for (const connection of this.#all.keys()) if (connection.isOpening) return undefined;
    }
    return this.#connect(endpoint);
  }

  /** Those who wait, as far as there is room. */
  #serve(): void {
    for (let next = this.#waiting.first; next !== undefined; next = this.#waiting.first) {
      const connection = this.#roomFor(next.head) ?? this.#another(next.endpoint, false);
      if (connection === undefined) return;
      if (connection instanceof Http2Upstream) {
        if (!connection.mayCarry(next.head)) return;
        this.#waiting.next();
        next.begin(this.#begin(connection, next.head, next.sink));
      } else {
        this.#waiting.next();
        next.fail(connection);
      }
    }
  }

  #begin(connection: Http2Upstream, head: RequestHead, sink: AnswerSink): UpstreamStream {
    const stream = connection.begin(head, sink);
    if (!isYoung(connection, this.#policy)) this.#all.get(connection)?.count(this.#policy);
    return stream;
  }

  #connect(endpoint: Endpoint): Http2Upstream | Failure {
    const { wheel, clock, limits, counters, tls } = this.#options;
    const dialling = diallingOf(endpoint, tls, "h2");
    if ("kind" in dialling) return dialling;
    const connection = new Http2Upstream({
      ...dialling,
      ...{ endpoint, owner: this, wheel, clock, limits },
      connectTimeoutMs: this.#policy.connectTimeoutMs,
      counters: counters.http2,
      upstreamCounters: counters,
      trust: 1,
      heldBytesMax: HELD_BYTES_MAX,
    });
    const age = new ConnectionAge(connection, this.#options);
    this.#all.set(connection, age);
    age.follow(this.#policy);
    if (this.#retired) connection.retire("retired");
    return connection;
  }
}

/** The less the better: requests, and that it is not open yet. Who is being written to anyhow costs no other write. */
function rank(connection: Http2Upstream): number {
  const opening = connection.isReady ? 0 : SPREAD_FROM;
  return connection.running + opening - (connection.isWriting ? WRITE_WORTH : 0);
}
