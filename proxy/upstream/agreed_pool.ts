import type { Socket } from "node:net";
import { LinkedList } from "#kernel/linked_list.ts";
import { ALPN_PROTOCOLS, type AlpnProtocol } from "#model/app_protocol.ts";
import type { Endpoint } from "#model/snapshot.ts";
import type { AnswerSink, RequestHead, UpstreamStream } from "#proxy/exchange/exchange.ts";
import { type Failure, failure } from "#proxy/exchange/failure.ts";
import type { ConnectionPolicy } from "#proxy/upstream/connection_policy.ts";
import { type Dialling, diallingOf } from "#proxy/upstream/dial.ts";
import { EndpointPool } from "#proxy/upstream/endpoint_pool.ts";
import { MultiplexedPool } from "#proxy/upstream/multiplexed_pool.ts";
import { agreedOn, OpeningConnection } from "#proxy/upstream/opening_connection.ts";
import type { Pool, PoolOptions } from "#proxy/upstream/pool.ts";
import { RefusedStream } from "#proxy/upstream/refused_stream.ts";
import { failAll, WaitingLine } from "#proxy/upstream/waiting_line.ts";
import { WaitingRequest, type WaitingRoom } from "#proxy/upstream/waiting_request.ts";

/**
 * The connections to one endpoint that says in TLS which protocol it speaks: a pool for each, and one connection that
 * finds out, for which all requests wait: the one that it is for, the checks, and so many others as may. What was
 * agreed on holds while a connection is open that speaks it, and until one cannot be opened: the endpoint may have
 * become another.
 */
export class AgreedPool implements Pool, WaitingRoom {
  readonly waitingStage = "connects";
  readonly #options: PoolOptions;
  #policy: ConnectionPolicy;
  readonly #http1: EndpointPool;
  readonly #http2: MultiplexedPool;
  #agreed: AlpnProtocol | undefined = undefined;
  /** Undefined: none is being opened, and nobody waits. */
  #opening: OpeningConnection | undefined = undefined;
  /** The request that the connection being opened is for, as one that has dialled itself: it takes no place in line. */
  #first: WaitingRequest | undefined = undefined;
  /** Those that wait for no other request. */
  readonly #atOnce = new LinkedList<WaitingRequest>();
  readonly #line: WaitingLine;

  constructor(options: PoolOptions, policy: ConnectionPolicy) {
    this.#options = options;
    this.#policy = policy;
    this.#line = new WaitingLine(options, policy, this.waitingStage, () => this.#onLeft());
    const own: PoolOptions = { ...options, onDial: (...dial) => this.#doubt(...dial) };
    this.#http1 = new EndpointPool(own, policy);
    this.#http2 = new MultiplexedPool(own, policy);
  }

  get protocol(): AlpnProtocol | undefined {
    return this.#known?.protocol;
  }

  get size(): number {
    return this.#http1.size + this.#http2.size + (this.#opening === undefined ? 0 : 1);
  }

  get idle(): number {
    return this.#http1.idle + this.#http2.idle;
  }

  get pending(): number {
    return this.#line.size + this.#http1.pending + this.#http2.pending;
  }

  get retired(): boolean {
    return this.#http1.retired;
  }

  open(endpoint: Endpoint, head: RequestHead, sink: AnswerSink, atOnce: boolean): UpstreamStream {
    const pool = this.#poolFor(head);
    if (pool !== undefined) return pool.open(endpoint, head, sink, atOnce);
    if (this.#opening === undefined) {
      const dialling = diallingOf(endpoint, this.#options.tls, ALPN_PROTOCOLS);
      if ("kind" in dialling) return new RefusedStream(dialling, sink);
      this.#begin(endpoint, dialling);
    }
    if (this.#first !== undefined && !atOnce) return this.#wait(endpoint, head, sink);
    const request = new WaitingRequest(this, endpoint, head, sink);
    if (atOnce) this.#atOnce.push(request);
    else this.#first = request;
    return request;
  }

  follow(policy: ConnectionPolicy): void {
    this.#policy = policy;
    this.#line.policy = policy;
    this.#http1.follow(policy);
    this.#http2.follow(policy);
  }

  sever(detail: string): void {
    this.#failOpening(failure("connect_refused", `${detail}: link down`));
    this.#http1.sever(detail);
    this.#http2.sever(detail);
  }

  retire(): void {
    this.#http1.retire();
    this.#http2.retire();
  }

  close(): void {
    this.#failOpening(failure("draining", ""));
    this.#http1.close();
    this.#http2.close();
  }

  // ── WaitingRoom ──

  onWaitCancelled(request: WaitingRequest): void {
    if (request === this.#first) this.#first = undefined;
    else this.#atOnce.remove(request);
    this.#onLeft();
  }

  /** Never, out of line: the connection that is being opened has a time limit, and fails all who wait for it. */
  onWaitedInVain(): void {}

  // ── choosing ──

  /** Undefined: it has to be found out. */
  #poolFor({ upgrade }: RequestHead): EndpointPool | MultiplexedPool | undefined {
    // As browsers do: most servers that agree on HTTP/2 can switch in HTTP/1.1 only.
    if (upgrade !== undefined) return this.#http2.takesUpgrades ? this.#http2 : this.#http1;
    const known = this.#known;
    if (known !== undefined) return known;
    // Tunnels have all connections that there may be: who comes now waits for one of them.
    return this.#http1.size >= this.#policy.connectionsMax ? this.#http1 : undefined;
  }

  get #known(): EndpointPool | MultiplexedPool | undefined {
    if (this.#agreed === undefined) return undefined;
    const pool = this.#agreed === "h2" ? this.#http2 : this.#http1;
    return pool.size > 0 ? pool : undefined;
  }

  /** Forgets what was agreed on if that does not hold, before anybody tries again. */
  #doubt(socket: Socket, expected: AlpnProtocol): void {
    const forget = (): void => {
      this.#agreed = undefined;
    };
    socket.once("error", forget);
    socket.once("secureConnect", () => {
      socket.off("error", forget);
      if (agreedOn(socket) !== expected) forget();
    });
  }

  // ── finding out ──

  #wait(endpoint: Endpoint, head: RequestHead, sink: AnswerSink): UpstreamStream {
    const request = this.#line.join(endpoint, head, sink);
    if (request !== undefined) return request;
    const detail = `a first connection, ${this.#line.size} requests waiting for it`;
    return new RefusedStream(failure("overloaded", detail), sink);
  }

  /** A connection that nobody waits for any more is not opened. */
  #onLeft(): void {
    if (this.#first !== undefined || this.#atOnce.size > 0 || this.#line.size > 0) return;
    this.#opening?.cancel();
    this.#opening = undefined;
  }

  #begin(endpoint: Endpoint, dialling: Dialling): void {
    const { wheel, counters } = this.#options;
    this.#opening = new OpeningConnection(dialling, {
      ...{ wheel, counters, connectTimeoutMs: this.#policy.connectTimeoutMs },
      onAgreed: (protocol, open) => this.#onAgreed(endpoint, protocol, open),
      onFailed: (reason) => this.#failOpening(reason),
    });
  }

  #onAgreed(endpoint: Endpoint, protocol: AlpnProtocol, open: Dialling): void {
    this.#opening = undefined;
    this.#agreed = protocol;
    const pool = protocol === "h2" ? this.#http2 : this.#http1;
    const outOfLine = this.#takeOutOfLine();
    // Who leaves last cancels it as well, so somebody waits.
    pool.adopt(endpoint, open, outOfLine.shift() ?? this.#line.next()!);
    for (const request of outOfLine) {
      request.begin(pool.open(request.endpoint, request.head, request.sink, true));
    }
    pool.takeOver(this.#line);
  }

  #failOpening(reason: Failure): void {
    this.#opening?.cancel();
    this.#opening = undefined;
    failAll([...this.#takeOutOfLine(), ...this.#line.clear()], reason);
  }

  /** The one that the connection is for comes first. */
  #takeOutOfLine(): WaitingRequest[] {
    const taken = this.#first === undefined ? [] : [this.#first];
    this.#first = undefined;
    for (let next = this.#atOnce.shift(); next !== undefined; next = this.#atOnce.shift()) {
      taken.push(next);
    }
    return taken;
  }
}
