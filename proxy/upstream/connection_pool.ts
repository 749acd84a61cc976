import type { Millis } from "#kernel/brand.ts";
import type { AlpnProtocol } from "#model/app_protocol.ts";
import type { Endpoint } from "#model/snapshot.ts";
import type { AnswerSink, RequestHead, UpstreamStream } from "#proxy/exchange/exchange.ts";
import { type Failure, failure } from "#proxy/exchange/failure.ts";
import { type Ageing, ConnectionAge, isYoung } from "#proxy/upstream/connection_age.ts";
import type { ConnectionPolicy } from "#proxy/upstream/connection_policy.ts";
import { type Dialling, diallingOf } from "#proxy/upstream/dial.ts";
import type { Pool, PoolOptions } from "#proxy/upstream/pool.ts";
import { RefusedStream } from "#proxy/upstream/refused_stream.ts";
import type { CloseReason } from "#proxy/upstream/upstream_counters.ts";
import { failAll, WaitingLine } from "#proxy/upstream/waiting_line.ts";
import type { WaitingRequest } from "#proxy/upstream/waiting_request.ts";

/** A connection as its pool sees it, whatever it speaks. */
interface Pooled extends Ageing {
  /** It has been open once: a request on it may have left. */
  readonly isReady: boolean;
  /** Fails what runs on it, and closes. */
  fail(reason: Failure, why: CloseReason): void;
}

/** What pools have in common: who is open, how old they may become, who waits, and how all of it ends. */
export abstract class ConnectionPool<C extends Pooled> implements Pool {
  protected readonly options: PoolOptions;
  protected policy: ConnectionPolicy;
  protected readonly all = new Map<C, ConnectionAge>();
  protected readonly waiting: WaitingLine;
  #retired = false;

  constructor(options: PoolOptions, policy: ConnectionPolicy) {
    this.options = options;
    this.policy = policy;
    this.waiting = new WaitingLine(options, policy);
  }

  abstract get idle(): number;
  abstract open(
    endpoint: Endpoint,
    head: RequestHead,
    sink: AnswerSink,
    atOnce: boolean,
  ): UpstreamStream;
  abstract readonly protocol: AlpnProtocol;
  /** Makes a connection that begins to dial. */
  protected abstract make(endpoint: Endpoint, dialling: Dialling): C;
  /** Gives a connection that is being made the request that has waited for it. */
  protected abstract carry(connection: C, request: WaitingRequest): void;
  /** More are open than may be: those that can go do so. */
  protected abstract shrink(): void;
  /** Those who wait, as far as there is room. */
  protected abstract serve(): void;

  get size(): number {
    return this.all.size;
  }

  get pending(): number {
    return this.waiting.size;
  }

  get retired(): boolean {
    return this.#retired;
  }

  get idleTimeoutMs(): Millis {
    return this.policy.idleTimeoutMs;
  }

  follow(policy: ConnectionPolicy): void {
    const before = this.policy;
    if (policy === before) return;
    this.policy = policy;
    this.waiting.policy = policy;
    if (policy.lifetimeMs !== before.lifetimeMs)
      for (const age of this.all.values()) age.follow(policy);
    this.shrink();
    this.serve();
  }

  sever(detail: string): void {
    const unsent = failure("connect_refused", `${detail}: link down`);
    const waiting = this.waiting.clear();
    for (const connection of [...this.all.keys()]) {
      connection.fail(connection.isReady ? failure("link_down", detail) : unsent, "link");
    }
    failAll(waiting, unsent);
  }

  retire(): void {
    this.#retired = true;
    for (const connection of [...this.all.keys()]) connection.retire("retired");
  }

  close(): void {
    const waiting = this.waiting.clear();
    this.retire();
    failAll(waiting, failure("draining", ""));
  }

  /** One of its connections is no more. */
  onClosed(connection: C): void {
    this.all.get(connection)?.end();
    this.all.delete(connection);
    this.serveWaiting();
  }

  /** Takes over a connection that has just been opened, for a request that waits for it. */
  adopt(endpoint: Endpoint, dialling: Dialling, request: WaitingRequest): void {
    this.carry(this.#add(endpoint, dialling), request);
  }

  /** Serves those in `line`, or has them wait for what is left of their time. */
  takeOver(line: WaitingLine): void {
    this.waiting.take(line);
    this.serveWaiting();
  }

  protected serveWaiting(): void {
    if (this.waiting.size > 0) this.serve();
  }

  /** A request that found no room waits, if there may be one more who does. */
  protected wait(endpoint: Endpoint, head: RequestHead, sink: AnswerSink): UpstreamStream {
    const request = this.waiting.join(endpoint, head, sink);
    if (request !== undefined) return request;
    const detail = `${this.all.size} connections, ${this.waiting.size} requests waiting`;
    return new RefusedStream(failure("overloaded", detail), sink);
  }

  /** A connection has been given another request. */
  protected count(connection: C): void {
    if (!isYoung(connection, this.policy)) this.all.get(connection)?.count(this.policy);
  }

  protected connect(endpoint: Endpoint): C | Failure {
    const dialling = diallingOf(endpoint, this.options.tls, [this.protocol]);
    if ("kind" in dialling) return dialling;
    return this.#add(endpoint, this.#heard(dialling));
  }

  #heard(dialling: Dialling): Dialling {
    const { onDial } = this.options;
    if (onDial === undefined) return dialling;
    const dial: Dialling["dial"] = (onread) => {
      const socket = dialling.dial(onread);
      onDial(socket, this.protocol);
      return socket;
    };
    return { ...dialling, dial };
  }

  #add(endpoint: Endpoint, dialling: Dialling): C {
    const connection = this.make(endpoint, dialling);
    const age = new ConnectionAge(connection, this.options);
    this.all.set(connection, age);
    age.follow(this.policy);
    return connection;
  }
}
