import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import type { TLSSocket, TlsOptions } from "node:tls";
import { createServer as createTlsServer, Server as TlsServer } from "node:tls";
import type { Millis } from "#kernel/brand.ts";
import type { Clock } from "#kernel/clock.ts";
import { err, ok, type Result } from "#kernel/result.ts";
import type { TimerWheel } from "#kernel/timer_wheel.ts";
import type { Listener } from "#model/snapshot.ts";
import type { Handler } from "#proxy/exchange/exchange.ts";
import type { FailureName } from "#proxy/exchange/failure.ts";
import { anonymous, type Peer } from "#proxy/exchange/peer.ts";
import { DownstreamConnection, type DownstreamOptions } from "#proxy/http1/downstream.ts";
import { HTTP1_LIMITS, type Http1Limits } from "#proxy/http1/limits.ts";

/** Open connections of one listener; one more is closed at once. */
const CONNECTIONS_MAX = 10_000;
const BACKLOG = 1_024;
/** From a TLS connection's start to the end of its handshake. */
const HANDSHAKE_MS: Millis = 5_000;

/** TLS of a listener, and who the peers are that it proves. */
export interface ServerTls {
  readonly options: TlsOptions;
  /** Undefined: the connection is closed before a byte of it is read. */
  readonly peerOf: (socket: TLSSocket) => Peer | undefined;
}

export interface ListenOptions {
  readonly listener: Listener;
  readonly handler: Handler;
  /** Name of this proxy in `Proxy-Status`: its cluster. */
  readonly self: string;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  /** Several processes share the port (SO_REUSEPORT). */
  readonly reusePort: boolean;
  readonly tls?: ServerTls;
  readonly limits?: Http1Limits;
  readonly connectionsMax?: number;
}

/** Plain numbers, read by metrics at scrape time. */
export interface ListenerCounters {
  accepted: number;
  open: number;
  /** Closed at once because the listener was full. */
  full: number;
  /** Handshakes that failed, and peers that proved to be nobody who may come here. */
  tlsRefused: number;
  /** Requests that were not passed on, by reason. */
  readonly refused: Map<FailureName, number>;
}

/** A port that is open. */
export interface OpenListener {
  readonly address: string;
  readonly port: number;
  readonly counters: ListenerCounters;
  /** New handshakes use these from now on; open connections are not touched. */
  useTls(options: TlsOptions): void;
  /** Accepts no more, lets running requests end for at most `maxMs`, then closes. */
  drain(maxMs: Millis): Promise<void>;
}

/** Opens the port of `listener`. The error says which address and why. */
export async function listen(options: ListenOptions): Promise<Result<OpenListener, string>> {
  const { address } = options.listener;
  const first = await openAt(options, address);
  // `::` is every address of a machine that knows IPv6, and none of one that does not.
  if (first.ok || address !== "::" || !/EAFNOSUPPORT|EADDRNOTAVAIL/.test(first.error)) return first;
  return openAt(options, "0.0.0.0");
}

function openAt(options: ListenOptions, host: string): Promise<Result<OpenListener, string>> {
  const { listener, reusePort, clock } = options;
  const port = new Port(options);
  return new Promise((resolve) => {
    const { server } = port;
    server.once("error", (error) => resolve(err(`${host}:${listener.port}: ${error.message}`)));
    server.listen({ host, port: listener.port, backlog: BACKLOG, reusePort }, () => {
      server.on("error", () => {});
      const bound = server.address() as AddressInfo;
      resolve(
        ok({
          address: bound.address,
          port: bound.port,
          counters: port.counters,
          useTls: (tls) => port.useTls(tls),
          drain: (maxMs) => port.drain(clock, maxMs),
        }),
      );
    });
  });
}

class Port {
  readonly server: Server;
  readonly counters: ListenerCounters = {
    accepted: 0,
    open: 0,
    full: 0,
    tlsRefused: 0,
    refused: new Map(),
  };
  readonly #connection: DownstreamOptions;
  readonly #connections = new Set<DownstreamConnection>();
  #onEmpty: (() => void) | undefined = undefined;

  constructor(options: ListenOptions) {
    const { listener, handler, wheel, self, limits, tls, connectionsMax } = options;
    this.#connection = {
      listener: listener.name,
      secure: tls !== undefined,
      handler,
      wheel,
      self,
      limits: limits ?? HTTP1_LIMITS,
      onRefused: ({ kind }) => this.#count(kind),
      onClosed: (connection) => this.#forget(connection),
    };
    // Half-open: a client may end its side after the request and still read the answer.
    const base = { allowHalfOpen: true, noDelay: true };
    this.server =
      tls === undefined
        ? createServer(base, (socket) => this.#accept(socket, anonymous(addressOf(socket))))
        : createTlsServer({ ...tls.options, ...base, handshakeTimeout: HANDSHAKE_MS }, (socket) => {
            const peer = tls.peerOf(socket);
            if (peer === undefined) this.#refuse(socket);
            else this.#accept(socket, peer);
          });
    this.server.maxConnections = connectionsMax ?? CONNECTIONS_MAX;
    this.server.on("drop", () => {
      this.counters.full++;
    });
    this.server.on("tlsClientError", (_error: Error, socket: Socket) => this.#refuse(socket));
  }

  useTls(options: TlsOptions): void {
    if (this.server instanceof TlsServer) this.server.setSecureContext(options);
  }

  drain(clock: Clock, maxMs: Millis): Promise<void> {
    this.server.close();
    for (const connection of [...this.#connections]) connection.drain();
    if (this.#connections.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = clock.after(maxMs, () => {
        for (const connection of [...this.#connections]) connection.destroy();
      });
      this.#onEmpty = () => {
        timer.cancel();
        resolve();
      };
    });
  }

  #accept(socket: Socket, peer: Peer): void {
    this.counters.accepted++;
    this.counters.open++;
    this.#connections.add(new DownstreamConnection(socket, peer, this.#connection));
  }

  #refuse(socket: Socket): void {
    this.counters.tlsRefused++;
    socket.destroy();
  }

  #forget(connection: DownstreamConnection): void {
    if (!this.#connections.delete(connection)) return;
    this.counters.open--;
    if (this.#connections.size === 0) this.#onEmpty?.();
  }

  #count(kind: FailureName): void {
    this.counters.refused.set(kind, (this.counters.refused.get(kind) ?? 0) + 1);
  }
}

function addressOf(socket: Socket): string {
  return socket.remoteAddress ?? "";
}
