import { type ConnectionOptions, connect as connectTls } from "node:tls";
import type { Millis } from "#kernel/brand.ts";
import type { Clock } from "#kernel/clock.ts";
import { LinkedList } from "#kernel/linked_list.ts";
import type { Rng } from "#kernel/rng.ts";
import { type TimerWheel, WheelItem } from "#kernel/timer_wheel.ts";
import type { Endpoint } from "#model/snapshot.ts";
import type { AnswerSink, RequestHead, UpstreamStream } from "#proxy/exchange/exchange.ts";
import { type Failure, failure } from "#proxy/exchange/failure.ts";
import type { ReadInto } from "#proxy/http1/held_buffers.ts";
import type { Http1Limits } from "#proxy/http1/limits.ts";
import { type ConnectionOwner, UpstreamConnection } from "#proxy/http1/upstream.ts";
import { AnswerFirstSocket } from "#proxy/upstream/answer_first_socket.ts";
import type { ConnectionPolicy } from "#proxy/upstream/connection_policy.ts";
import { RefusedStream } from "#proxy/upstream/refused_stream.ts";
import type { UpstreamCounters } from "#proxy/upstream/upstream_counters.ts";
import { WaitingRequest, type WaitingRoom } from "#proxy/upstream/waiting_request.ts";

/** Share of its lifetime and its requests by which a connection may end early: a fleet's do not all at once. */
const JITTER = 0.1;

export interface PoolOptions {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly rng: Rng;
  /** How to prove who we are to an endpoint that has an identity; undefined: we cannot. */
  readonly tls: (endpoint: Endpoint) => ConnectionOptions | undefined;
  readonly limits: Http1Limits;
  readonly counters: UpstreamCounters;
}

/**
 * The connections to one endpoint: a stack of idle ones, the newest first, and a queue of requests that
 * found all of them busy. Somebody waits only while as many connections are open as may be.
 */
export class EndpointPool implements ConnectionOwner, WaitingRoom {
  readonly #options: PoolOptions;
  #policy: ConnectionPolicy;
  readonly #all = new Map<UpstreamConnection, Age>();
  readonly #idle = new LinkedList<UpstreamConnection>();
  readonly #waiting = new LinkedList<WaitingRequest>();
  /** An idle connection was dead: the others may be as well, so the next request gets a new one. */
  #distrusted = false;
  /** No snapshot names the endpoint any more. */
  #retired = false;

  constructor(options: PoolOptions, policy: ConnectionPolicy) {
    this.#options = options;
    this.#policy = policy;
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

  /** @param atOnce takes a connection beyond the limit rather than wait for one. */
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

  /** Other limits from now on. Running requests keep their connections; idle ones beyond them go. */
  follow(policy: ConnectionPolicy): void {
    const before = this.#policy;
    if (policy === before) return;
    this.#policy = policy;
    if (policy.lifetimeMs !== before.lifetimeMs)
      for (const age of this.#all.values()) this.#arm(age);
    while (this.#all.size > policy.connectionsMax && this.#idle.size > 0) {
      this.#idle.shift()!.retire("limit");
    }
    this.#serve();
  }

  /** Fails everything: what runs may have been acted upon, what waits or connects cannot have been. */
  sever(detail: string): void {
    const unsent = failure("connect_refused", `${detail}: link down`);
    const waiting = this.#takeWaiting();
    for (const connection of [...this.#all.keys()]) {
      connection.fail(connection.isReady ? failure("link_down", detail) : unsent, "link");
    }
    for (const request of waiting) request.fail(unsent);
  }

  /** Closes what is idle, and the rest once it has ended. Who waits is served still. */
  retire(): void {
    this.#retired = true;
    for (const connection of [...this.#all.keys()]) connection.retire("retired");
  }

  /** The proxy ends: nobody's turn comes any more. */
  close(): void {
    const waiting = this.#takeWaiting();
    this.retire();
    for (const request of waiting) request.fail(failure("draining", ""));
  }

  // ── of its connections ──

  onIdle(connection: UpstreamConnection): void {
    if (this.#all.size > this.#policy.connectionsMax) {
      connection.retire("limit");
      return;
    }
    const next = this.#waiting.shift();
    if (next === undefined) this.#idle.push(connection);
    else this.#beginWaiting(connection, next);
  }

  onStale(): void {
    this.#distrusted = true;
  }

  onClosed(connection: UpstreamConnection): void {
    const age = this.#all.get(connection);
    if (age !== undefined) this.#options.wheel.disarm(age);
    this.#all.delete(connection);
    this.#idle.remove(connection);
    if (this.#waiting.size > 0) this.#serve();
  }

  // ── of its waiting requests ──

  onWaitedInVain(request: WaitingRequest): void {
    const { pendingTimeoutMs } = this.#policy;
    this.#waiting.remove(request);
    this.#options.counters.timedOut++;
    request.fail(failure("overloaded", `no free connection within ${pendingTimeoutMs} ms`));
  }

  onWaitCancelled(request: WaitingRequest): void {
    this.#waiting.remove(request);
    this.#options.wheel.disarm(request);
  }

  #openWhenFull(endpoint: Endpoint, head: RequestHead, sink: AnswerSink): UpstreamStream {
    const { pendingMax, pendingTimeoutMs } = this.#policy;
    const { counters, wheel } = this.#options;
    // Not trusted, but better than waiting for nobody: an idle one serves no other request.
    const idle = this.#idle.pop();
    if (idle !== undefined) {
      this.#begin(idle, head, sink);
      return idle;
    }
    if (this.#waiting.size >= pendingMax) {
      counters.overflowed++;
      const detail = `${this.#all.size} connections, ${this.#waiting.size} requests waiting`;
      return new RefusedStream(failure("overloaded", detail), sink);
    }
    counters.waited++;
    const request = new WaitingRequest(this, endpoint, head, sink);
    this.#waiting.push(request);
    wheel.arm(request, pendingTimeoutMs);
    return request;
  }

  /** As many of those who wait as there may be connections. */
  #serve(): void {
    while (this.#waiting.size > 0 && this.#all.size < this.#policy.connectionsMax) {
      const request = this.#waiting.shift()!;
      const made = this.#connect(request.endpoint);
      if (made instanceof UpstreamConnection) this.#beginWaiting(made, request);
      else {
        this.#options.wheel.disarm(request);
        request.fail(made);
      }
    }
  }

  #takeWaiting(): WaitingRequest[] {
    const waiting: WaitingRequest[] = [];
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      this.#options.wheel.disarm(next);
      waiting.push(next);
    }
    return waiting;
  }

  #beginWaiting(connection: UpstreamConnection, request: WaitingRequest): void {
    this.#options.wheel.disarm(request);
    this.#begin(connection, request.head, request.sink);
    request.begin(connection);
  }

  // ── connections ──

  #begin(connection: UpstreamConnection, head: RequestHead, sink: AnswerSink): void {
    connection.begin(head, sink);
    const { requestsMax } = this.#policy;
    // Far from the limit nothing needs to be looked up.
    if (connection.requests < requestsMax * (1 - JITTER)) return;
    const early = Math.floor(requestsMax * this.#all.get(connection)!.early);
    if (connection.requests >= requestsMax - early) connection.retire("requests");
  }

  #connect(endpoint: Endpoint): UpstreamConnection | Failure {
    const { clock, wheel, rng, limits, tls, counters } = this.#options;
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
      limits,
      connectTimeoutMs: this.#policy.connectTimeoutMs,
      counters,
    });
    const age = new Age(connection, clock.now(), rng.next() * JITTER);
    this.#all.set(connection, age);
    this.#arm(age);
    if (this.#retired) connection.retire("retired");
    return connection;
  }

  #arm(age: Age): void {
    const { clock, wheel } = this.#options;
    const { lifetimeMs } = this.#policy;
    wheel.disarm(age);
    if (lifetimeMs === Number.POSITIVE_INFINITY) return;
    const endsAt = age.bornAt + lifetimeMs * (1 - age.early);
    wheel.arm(age, Math.max(0, endsAt - clock.now()));
  }
}

/** How old a connection may become. */
class Age extends WheelItem {
  readonly #connection: UpstreamConnection;
  readonly bornAt: Millis;
  /** Share of its limits by which it ends before them. */
  readonly early: number;

  constructor(connection: UpstreamConnection, bornAt: Millis, early: number) {
    super();
    this.#connection = connection;
    this.bornAt = bornAt;
    this.early = early;
  }

  override onTimeout(): void {
    this.#connection.retire("lifetime");
  }
}
