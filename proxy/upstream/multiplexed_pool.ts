import type { Millis } from "#kernel/brand.ts";
import type { Endpoint } from "#model/snapshot.ts";
import type { AnswerSink, RequestHead, UpstreamStream } from "#proxy/exchange/exchange.ts";
import { type Failure, failure } from "#proxy/exchange/failure.ts";
import { OF_PROXY, OF_STRANGER } from "#proxy/http2/connection.ts";
import { type Http2Owner, Http2Upstream } from "#proxy/http2/upstream.ts";
import { ConnectionPool } from "#proxy/upstream/connection_pool.ts";
import type { Dialling } from "#proxy/upstream/dial.ts";
import { RefusedStream } from "#proxy/upstream/refused_stream.ts";
import type { WaitingRequest } from "#proxy/upstream/waiting_request.ts";

/** As many connections are used where one would do: a lost packet holds up no more than a part of the requests. */
const SPREAD_OVER = 4;
/** Requests on each connection from which on another is worth its handshake. */
const SPREAD_FROM = 16;
/** Pings without an answer after which a connection is given up, while others of its link are well. */
const SILENT_PINGS_MAX = 3;
/** Connections that are open for each that may be: as many again may be ending, with requests that run for long. */
const WITH_ENDING = 2;
/** Requests that another system call is worth. */
const WRITE_WORTH = 16;

/**
 * The connections to one endpoint over HTTP/2, each of which carries many requests at a time. A request goes to the
 * one with the fewest; who finds no room waits until a request has ended or the endpoint allows more.
 */
export class MultiplexedPool extends ConnectionPool<Http2Upstream> implements Http2Owner {
  readonly protocol = "h2";
  #isServing = false;

  /** One of its connections can switch to another protocol (RFC 8441). */
  get takesUpgrades(): boolean {
    for (const { takesUpgrades } of this.all.keys()) if (takesUpgrades) return true;
    return false;
  }

  get idle(): number {
    let idle = 0;
    for (const connection of this.all.keys()) if (connection.running === 0) idle++;
    return idle;
  }

  open(endpoint: Endpoint, head: RequestHead, sink: AnswerSink, atOnce: boolean): UpstreamStream {
    const connection = this.#roomFor(head) ?? this.#another(endpoint, atOnce);
    if (connection instanceof Http2Upstream && connection.mayCarry(head)) {
      return this.#begin(connection, head, sink);
    }
    if (connection !== undefined && "kind" in connection)
      return new RefusedStream(connection, sink);
    return this.wait(endpoint, head, sink);
  }

  /** We have a new identity: what runs over the old one ends in peace, what comes goes over the new one. */
  renew(): void {
    for (const connection of [...this.all.keys()]) {
      if (connection.endpoint.identity !== undefined) connection.retire("lifetime");
    }
  }

  /** As `Links.ping` says. */
  ping(endpoint: Endpoint, done: (rttMs: Millis | undefined) => void): void {
    const asked = [...this.all.keys()];
    if (asked.length === 0) {
      const first = this.connect(endpoint);
      if (!(first instanceof Http2Upstream)) {
        process.nextTick(done, undefined);
        return;
      }
      asked.push(first);
    }
    // A link that is silent on all of them is for its watcher to give up.
    const isAlive = asked.some(({ silentPings }) => silentPings === 0);
    let unheard = asked.length;
    let isOver = false;
    for (const connection of asked) {
      const isSilent = connection.isReady && connection.silentPings >= SILENT_PINGS_MAX;
      if (isAlive && isSilent) {
        connection.fail(failure("link_down", "it answers no ping, others do"), "link");
      }
      connection.ping((rttMs) => {
        unheard--;
        if (isOver || (rttMs === undefined && unheard > 0)) return;
        isOver = true;
        done(rttMs);
      });
    }
  }

  protected shrink(): void {
    const taking = [...this.all.keys()].filter(({ isClosing }) => !isClosing);
    const tooMany = Math.max(0, taking.length - this.policy.connectionsMax);
    for (const connection of taking.slice(0, tooMany)) connection.retire("limit");
  }

  // ── Http2Owner ──

  onRoom(connection: Http2Upstream): void {
    this.serveWaiting();
    if (this.retired && this.waiting.size === 0) connection.retire("retired");
  }

  onClosing(): void {
    this.serveWaiting();
  }

  // ── choosing ──

  /** The connection with the fewest requests; undefined: none has room. */
  #roomFor(head: RequestHead): Http2Upstream | undefined {
    let best: Http2Upstream | undefined;
    let taking = 0;
    let usable = 0;
    for (const connection of this.all.keys()) {
      if (!connection.isClosing) taking++;
      if (connection.room === 0 || !connection.mayCarry(head)) continue;
      // One that is still being opened is not waited for while there are others.
      usable++;
      if (best === undefined || rank(connection) < rank(best)) best = connection;
    }
    if (best === undefined) return undefined;
    const isWorthOne = best.running >= SPREAD_FROM && usable < SPREAD_OVER;
    if (isWorthOne && usable === taking && this.#mayAdd(taking)) this.connect(best.endpoint);
    return best;
  }

  /**
   * Whether there may be one more beside those that take requests. Those that are ending are bounded on their own: an
   * endpoint that says GOAWAY to each connection at once would multiply them else.
   */
  #mayAdd(taking: number): boolean {
    const { connectionsMax } = this.policy;
    return taking < connectionsMax && this.all.size < connectionsMax * WITH_ENDING;
  }

  /** Another connection; undefined: there may be no more. */
  #another(endpoint: Endpoint, atOnce: boolean): Http2Upstream | Failure | undefined {
    // Another connection would be told the same: until it allows some, there is nothing to be had.
    for (const { allowsNone } of this.all.keys()) {
      if (allowsNone) return atOnce ? failure("refused_stream", "it allows no streams") : undefined;
    }
    if (!atOnce) {
      let taking = 0;
      for (const { isClosing, isOpening } of this.all.keys()) {
        // It cannot say yet whether it takes this request, and will soon.
        if (isOpening) return undefined;
        if (!isClosing) taking++;
      }
      if (!this.#mayAdd(taking)) return undefined;
    }
    return this.connect(endpoint);
  }

  protected serve(): void {
    // One that is given its last request makes room for another: that is seen here, and not one call deeper.
    if (this.#isServing) return;
    this.#isServing = true;
    this.#serveAll();
    this.#isServing = false;
  }

  #serveAll(): void {
    for (let next = this.waiting.first; next !== undefined; next = this.waiting.first) {
      const connection = this.#roomFor(next.head) ?? this.#another(next.endpoint, false);
      if (connection === undefined) return;
      if (connection instanceof Http2Upstream) {
        if (!connection.mayCarry(next.head)) return;
        this.waiting.next();
        this.carry(connection, next);
      } else {
        this.waiting.next();
        next.fail(connection);
      }
    }
  }

  protected carry(connection: Http2Upstream, request: WaitingRequest): void {
    request.begin(this.#begin(connection, request.head, request.sink));
  }

  #begin(connection: Http2Upstream, head: RequestHead, sink: AnswerSink): UpstreamStream {
    const stream = connection.begin(head, sink);
    this.count(connection);
    return stream;
  }

  protected make(endpoint: Endpoint, dialling: Dialling): Http2Upstream {
    const { wheel, clock, limits, counters } = this.options;
    return new Http2Upstream({
      ...dialling,
      ...{ endpoint, owner: this, wheel, clock, limits },
      connectTimeoutMs: this.policy.connectTimeoutMs,
      counters: counters.http2,
      upstreamCounters: counters,
      ...(endpoint.identity === undefined ? OF_STRANGER : OF_PROXY),
    });
  }
}

/** The less the better: requests, and that it is not open yet. Who is being written to anyhow costs no other write. */
function rank(connection: Http2Upstream): number {
  const opening = connection.isReady ? 0 : SPREAD_FROM;
  return connection.running + opening - (connection.isWriting ? WRITE_WORTH : 0);
}
