import type { Millis } from "#kernel/brand.ts";
import { LinkedList } from "#kernel/linked_list.ts";
import type { Endpoint } from "#model/snapshot.ts";
import type { AnswerSink, RequestHead, UpstreamStream } from "#proxy/exchange/exchange.ts";
import { type Failure, failure } from "#proxy/exchange/failure.ts";
import { type ConnectionOwner, UpstreamConnection } from "#proxy/http1/upstream.ts";
import { ConnectionAge, isYoung } from "#proxy/upstream/connection_age.ts";
import type { ConnectionPolicy } from "#proxy/upstream/connection_policy.ts";
import { diallingOf } from "#proxy/upstream/dial.ts";
import type { Pool, PoolOptions } from "#proxy/upstream/pool.ts";
import { RefusedStream } from "#proxy/upstream/refused_stream.ts";
import { failAll, WaitingLine } from "#proxy/upstream/waiting_line.ts";
import type { WaitingRequest } from "#proxy/upstream/waiting_request.ts";

/**
 * The connections to one endpoint, each of which carries one request at a time: a stack of idle ones, the newest
 * first, and a line of requests that found all of them busy. Somebody waits only while as many connections
 * are open as may be.
 */
export class EndpointPool implements Pool, ConnectionOwner {
  readonly #options: PoolOptions;
  #policy: ConnectionPolicy;
  readonly #all = new Map<UpstreamConnection, ConnectionAge>();
  readonly #idle = new LinkedList<UpstreamConnection>();
  readonly #waiting: WaitingLine;
  /** An idle connection was dead: the others may be as well, so the next request gets a new one. */
  #distrusted = false;
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
    return this.#idle.size;
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
    const idle = this.#distrusted ? undefined : this.#idle.pop();
    if (idle !== undefined) {
      this.#begin(idle, head, sink);
      return idle;
    }
    if (this.#all.size >= this.#policy.connectionsMax && !atOnce) {
      return this.#openWhenFull(endpoint, head, sink);
    }
    this.#distrusted = false;
    const made = this.#connect(endpoint);
    if (!(made instanceof UpstreamConnection)) return new RefusedStream(made, sink);
    this.#begin(made, head, sink);
    return made;
  }

  follow(policy: ConnectionPolicy): void {
    const before = this.#policy;
    if (policy === before) return;
    this.#policy = policy;
    this.#waiting.policy = policy;
    if (policy.lifetimeMs !== before.lifetimeMs)
      for (const age of this.#all.values()) age.follow(policy);
    while (this.#all.size > policy.connectionsMax && this.#idle.size > 0) {
      this.#idle.shift()!.retire("limit");
    }
    this.#serve();
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

  // ── of its connections ──

  onIdle(connection: UpstreamConnection): void {
    if (this.#all.size > this.#policy.connectionsMax) {
      connection.retire("limit");
      return;
    }
    const next = this.#waiting.next();
    if (next === undefined) this.#idle.push(connection);
    else this.#beginWaiting(connection, next);
  }

  onStale(): void {
    this.#distrusted = true;
  }

  onClosed(connection: UpstreamConnection): void {
    this.#all.get(connection)?.end();
    this.#all.delete(connection);
    this.#idle.remove(connection);
    if (this.#waiting.size > 0) this.#serve();
  }

  #openWhenFull(endpoint: Endpoint, head: RequestHead, sink: AnswerSink): UpstreamStream {
    // Not trusted, but better than waiting for nobody: an idle one serves no other request.
    const idle = this.#idle.pop();
    if (idle !== undefined) {
      this.#begin(idle, head, sink);
      return idle;
    }
    const request = this.#waiting.join(endpoint, head, sink);
    if (request !== undefined) return request;
    const detail = `${this.#all.size} connections, ${this.#waiting.size} requests waiting`;
    return new RefusedStream(failure("overloaded", detail), sink);
  }

  /** As many of those who wait as there may be connections. */
  #serve(): void {
    while (this.#all.size < this.#policy.connectionsMax) {
      const request = this.#waiting.next();
      if (request === undefined) return;
      const made = this.#connect(request.endpoint);
      if (made instanceof UpstreamConnection) this.#beginWaiting(made, request);
      else request.fail(made);
    }
  }

  #beginWaiting(connection: UpstreamConnection, request: WaitingRequest): void {
    this.#begin(connection, request.head, request.sink);
    request.begin(connection);
  }

  // ── connections ──

  #begin(connection: UpstreamConnection, head: RequestHead, sink: AnswerSink): void {
    connection.begin(head, sink);
    if (!isYoung(connection, this.#policy)) this.#all.get(connection)!.count(this.#policy);
  }

  #connect(endpoint: Endpoint): UpstreamConnection | Failure {
    const { wheel, limits, counters, tls } = this.#options;
    const dialling = diallingOf(endpoint, tls, "http/1.1");
    if ("kind" in dialling) return dialling;
    const connection = new UpstreamConnection({
      ...dialling,
      owner: this,
      wheel,
      limits,
      connectTimeoutMs: this.#policy.connectTimeoutMs,
      counters,
    });
    const age = new ConnectionAge(connection, this.#options);
    this.#all.set(connection, age);
    age.follow(this.#policy);
    if (this.#retired) connection.retire("retired");
    return connection;
  }
}
