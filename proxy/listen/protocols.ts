import type { Socket } from "node:net";
import type { Clock } from "#kernel/clock.ts";
import type { TimerWheel } from "#kernel/timer_wheel.ts";
import type { ClientPolicy, Handler } from "#proxy/exchange/exchange.ts";
import { FAILURES, type Failure } from "#proxy/exchange/failure.ts";
import { HttpDate } from "#proxy/exchange/http_date.ts";
import type { Peer } from "#proxy/exchange/peer.ts";
import { DownstreamConnection, type DownstreamOptions } from "#proxy/http1/downstream.ts";
import { Http2Downstream, type Http2DownstreamOptions } from "#proxy/http2/downstream.ts";
import type { ClientConnection, ClientSet } from "#proxy/listen/client_set.ts";
import type { ListenerCounters } from "#proxy/listen/listener_counters.ts";
import type { PortGroup } from "#proxy/listen/port_groups.ts";
import type { PortRules } from "#proxy/listen/port_rules.ts";
import type { Admitted } from "#proxy/listen/server_tls.ts";
import { refusedLine } from "#proxy/observe/access_entry.ts";
import type { AccessLog } from "#proxy/observe/access_log.ts";
import { TcpConnection } from "#proxy/tcp/downstream.ts";

/** A client that is through with everything that comes before its protocol. */
export interface Arrival extends Admitted {
  readonly socket: Socket;
  /** Bytes that were read to find out who it is and what it speaks: the protocol's first. The socket is paused then. */
  readonly first: Buffer;
  /** Nobody has read of its socket, nor does anybody still. */
  readonly fresh: boolean;
  /** What the handshake of TLS that ends here has agreed on (RFC 7301); undefined: nothing, or no TLS. */
  readonly alpn: string | undefined;
  /** Of TLS that does not end here: the name that it asks for; undefined: none. */
  readonly serverName: string | undefined;
}

/** What the connections of one port have in common. */
export interface ProtocolsOptions {
  readonly listener: string;
  readonly kind: PortGroup["protocol"];
  /** TLS ends here. */
  readonly secure: boolean;
  readonly handler: Handler;
  /** Name of this proxy in `Proxy-Status`: its cluster. */
  readonly self: string;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly accessLog: AccessLog | undefined;
  readonly clients: ClientSet;
  readonly counters: ListenerCounters;
}

/** What it takes to begin a connection, under the rules of the moment. */
interface Ground {
  readonly options: ProtocolsOptions;
  readonly policy: ClientPolicy;
  /** For sockets that nobody has read of. */
  readonly fresh: DownstreamOptions;
  readonly read: DownstreamOptions;
  readonly http2: Http2DownstreamOptions;
}

type Begin = (arrival: Arrival, ground: Ground) => void;

/** How a connection begins on which its client has agreed with us, by ALPN's own names. */
const AGREED: ReadonlyMap<string, Begin> = new Map([
  ["http/1.1", beginHttp1],
  ["h2", beginHttp2],
]);

/** How it begins otherwise, by the kind of its listener. */
const USUAL: Readonly<Record<PortGroup["protocol"], Begin>> = {
  HTTP: beginHttp1,
  HTTPS: beginHttp1,
  MESH: beginHttp1,
  TCP: beginTcp,
  /** Passed on as it is: TLS that does not end here. */
  TLS: beginTcp,
};

/** Where the connections of a port begin, each in its own protocol. */
export class Protocols {
  readonly #options: ProtocolsOptions;
  readonly #date: HttpDate;
  #ground: Ground;

  constructor(options: ProtocolsOptions, rules: PortRules) {
    this.#options = options;
    this.#date = new HttpDate(options.clock);
    this.#ground = this.#groundOf(rules);
  }

  begin(arrival: Arrival): void {
    const { alpn = "" } = arrival;
    const begin = AGREED.get(alpn) ?? USUAL[this.#options.kind];
    begin(arrival, this.#ground);
  }

  /** Connections that begin from now on follow these. */
  useRules(rules: PortRules): void {
    this.#ground = this.#groundOf(rules);
  }

  #groundOf({ limits, policy }: PortRules): Ground {
    const options = this.#options;
    const { listener, secure, handler, wheel, clock, self, clients, counters } = options;
    const both = {
      ...{ listener, secure, handler, wheel, self, limits, policy },
      date: this.#date,
      onRefused: (reason: Failure, peer: Peer, known: boolean) =>
        this.#onRefused(reason, peer, known),
      onClosed: (connection: ClientConnection) => clients.ended(connection),
    };
    const http2: Http2DownstreamOptions = { ...both, clock, counters: counters.http2 };
    const fresh: DownstreamOptions = {
      ...both,
      recycles: true,
      onPreface: (connection, socket) => {
        const next = new Http2Downstream(socket, connection, http2, true);
        clients.became(connection, next);
        return next;
      },
    };
    return { options, policy, fresh, read: { ...fresh, recycles: false }, http2 };
  }

  #onRefused(reason: Failure, { address }: Peer, known: boolean): void {
    const { kind } = reason;
    const { accessLog, clock, listener, counters } = this.#options;
    if (!known && accessLog !== undefined && this.#ground.policy.accessLogShare !== undefined) {
      const about = { listener, client: address, status: FAILURES[kind].status };
      accessLog.write(refusedLine(about, reason, clock.wall()));
    }
    counters.refused.set(kind, (counters.refused.get(kind) ?? 0) + 1);
  }
}

function beginHttp1(arrival: Arrival, { options, fresh, read }: Ground): void {
  const { socket, first } = arrival;
  const connection = new DownstreamConnection(socket, arrival, arrival.fresh ? fresh : read);
  options.clients.begun(connection);
  if (arrival.fresh) return;
  socket.resume();
  if (first.length > 0) connection.onChunk(first);
}

function beginHttp2(arrival: Arrival, { options, http2 }: Ground): void {
  const { socket } = arrival;
  options.clients.begun(new Http2Downstream(socket, arrival, http2, false));
  socket.resume();
}

function beginTcp(arrival: Arrival, { options, policy }: Ground): void {
  const { socket, peer, serverName, first } = arrival;
  const { listener, clients, handler } = options;
  const connection = new TcpConnection(socket, {
    ...{ listener, peer, serverName, policy, first },
    onClosed: (closed) => clients.ended(closed),
  });
  clients.begun(connection);
  handler.onRequest(connection);
}
