import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import {
  createServer as createTlsServer,
  type TLSSocket,
  type Server as TlsServer,
} from "node:tls";
import type { Millis } from "#kernel/brand.ts";
import type { Clock } from "#kernel/clock.ts";
import { err, ok, type Result } from "#kernel/result.ts";
import { Timeout, type TimerWheel } from "#kernel/timer_wheel.ts";
import type { ClientRules } from "#model/snapshot.ts";
import type { ClientPolicy, Handler } from "#proxy/exchange/exchange.ts";
import { FAILURES, type Failure, type FailureName } from "#proxy/exchange/failure.ts";
import { anonymous, type Peer } from "#proxy/exchange/peer.ts";
import { DownstreamConnection, type DownstreamOptions } from "#proxy/http1/downstream.ts";
import { HttpDate } from "#proxy/http1/http_date.ts";
import { FIRST_REQUEST_MS, type Http1Limits, limitsOf } from "#proxy/http1/limits.ts";
import { AddressBlocks } from "#proxy/listen/address_blocks.ts";
import { fileOf } from "#proxy/listen/file_limit.ts";
import { type PortSharing, provePortFree } from "#proxy/listen/port_claim.ts";
import type { PortGroup } from "#proxy/listen/port_groups.ts";
import { Preamble } from "#proxy/listen/preamble.ts";
import { readProxyHeader, type Source } from "#proxy/listen/proxy_protocol.ts";
import { closeWhenQuiet } from "#proxy/listen/quiet_close.ts";
import type { Admitted, ServerTls } from "#proxy/listen/server_tls.ts";
import { refusedLine } from "#proxy/observe/access_entry.ts";
import type { AccessLog } from "#proxy/observe/access_log.ts";
import { readClientHello } from "#proxy/tcp/client_hello.ts";
import { TcpConnection } from "#proxy/tcp/downstream.ts";

/** Open connections of one port; one more is closed at once. */
const CONNECTIONS_MAX = 10_000;
const BACKLOG = 1_024;
/**
 * Listening sockets of a port in each process. libuv accepts one connection per socket and turn of the event
 * loop: with a single one a busy proxy let clients wait for seconds.
 */
const ACCEPTORS = 16;
/** From a TLS connection's start to the end of its handshake. */
const HANDSHAKE_MS: Millis = 5_000;
const NO_RULES: ClientRules = { proxyProtocolFrom: [], trustedForwarders: [], forwarded: false };

export interface ListenOptions {
  readonly group: PortGroup;
  readonly handler: Handler;
  /** Name of this proxy in `Proxy-Status`: its cluster. */
  readonly self: string;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly sharing: PortSharing;
  /** Of HTTPS and MESH. */
  readonly tls?: ServerTls;
  readonly accessLog?: AccessLog | undefined;
  /** Highest file descriptor of a client; absent: any. */
  readonly filesMax?: number;
  /** For tests: in place of what the rules of the listener say. */
  readonly limits?: Http1Limits;
}

/** Plain numbers, read by metrics at scrape time. */
export interface ListenerCounters {
  accepted: number;
  open: number;
  /** Closed at once because the port was full. */
  full: number;
  /** Closed at once because file descriptors were running out. */
  noFiles: number;
  /** Handshakes that failed, and peers that proved to be nobody who may come here. */
  tlsRefused: number;
  /** Connections that did not begin as they must: PROXY header, ClientHello. */
  preambleRefused: number;
  /** Requests that were not passed on, by reason. */
  readonly refused: Map<FailureName, number>;
}

/** What came over the connections of one port, closed ones and open ones. */
export interface ListenerTraffic {
  requests: number;
  bytesIn: number;
  bytesOut: number;
}

/** A port that is open. */
export interface OpenPort {
  readonly address: string;
  readonly port: number;
  readonly counters: ListenerCounters;
  /** Added up when it is asked. */
  traffic(): ListenerTraffic;
  /** Connections that may be open at a time. */
  connectionsMax(): number;
  /** The connections that are open now. */
  clients(): Iterable<ClientInfo>;
  /** New connections are treated by these rules from now on. */
  useRules(rules: ClientRules | undefined): void;
  /** New handshakes use this from now on; open connections are not touched. */
  useTls(tls: ServerTls): void;
  /** Accepts no more, lets running requests end for at most `maxMs`, then closes. */
  drain(maxMs: Millis): Promise<void>;
  /** The same; the port is free for somebody else when this returns. Who waits in its queue is reset. */
  closeAndDrain(maxMs: Millis): Promise<void>;
}

/** The same port; `done` is called when it begins to drain. */
export function whenDrained(port: OpenPort, done: () => void): OpenPort {
  return {
    ...port,
    drain: (maxMs) => {
      done();
      return port.drain(maxMs);
    },
    closeAndDrain: (maxMs) => {
      done();
      return port.closeAndDrain(maxMs);
    },
  };
}

/** Opens a port. The error says which address and why. */
export async function openPort(options: ListenOptions): Promise<Result<OpenPort, string>> {
  const { address } = options.group;
  const first = await openAt(options, address);
  // `::` is every address of a machine that knows IPv6, and none of one that does not.
  if (first.ok || address !== "::" || !/EAFNOSUPPORT|EADDRNOTAVAIL/.test(first.error)) return first;
  return openAt(options, "0.0.0.0");
}

async function openAt(options: ListenOptions, host: string): Promise<Result<OpenPort, string>> {
  const { group, sharing, clock } = options;
  const why = (error: Error) => err(`${host}:${group.port}: ${error.message}`);
  if (sharing === "claim") {
    const free = await provePortFree(host, group.port);
    if (!free.ok) return why(free.error);
  }
  const port = new Port(options);
  let bound: AddressInfo | undefined;
  for (const server of port.servers) {
    const place = { host, port: bound?.port ?? group.port, reusePort: sharing !== "alone" };
    const listening = await listen(server, place);
    if (!listening.ok) {
      port.close();
      return why(listening.error);
    }
    bound ??= listening.value;
    // An accept that failed: descriptors are gone, those for endpoints included.
    server.on("error", () => {
      port.counters.noFiles++;
    });
  }
  return ok({
    address: bound!.address,
    port: bound!.port,
    counters: port.counters,
    traffic: () => port.traffic(),
    connectionsMax: () => port.connectionsMax,
    clients: () => port.clients(),
    useRules: (rules) => port.useRules(rules),
    useTls: (tls) => port.useTls(tls),
    drain: (maxMs) => port.drain(clock, maxMs),
    closeAndDrain: (maxMs) => port.closeAndDrain(clock, maxMs),
  });
}

function listen(
  server: Server,
  place: { readonly host: string; readonly port: number; readonly reusePort: boolean },
): Promise<Result<AddressInfo, Error>> {
  return new Promise((resolve) => {
    const fail = (error: Error): void => resolve(err(error));
    server.once("error", fail);
    server.listen({ ...place, backlog: BACKLOG }, () => {
      server.off("error", fail);
      resolve(ok(server.address() as AddressInfo));
    });
  });
}

/** A client's connection, as an operator sees it. */
export interface ClientInfo {
  readonly listener: string;
  readonly client: string;
  /** What it is at: `idle`, `head`, `body`, `answer`, `tunnel`, `over`. */
  readonly state: string;
  readonly requests: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** A client's connection, whatever it speaks. */
interface ClientConnection {
  info(): ClientInfo | undefined;
  drain(): void;
  destroy(): void;
}

class Port {
  readonly servers: readonly Server[];
  readonly counters: ListenerCounters = {
    accepted: 0,
    open: 0,
    full: 0,
    noFiles: 0,
    tlsRefused: 0,
    preambleRefused: 0,
    refused: new Map(),
  };
  readonly #options: ListenOptions;
  readonly #tlsServer: TlsServer | undefined;
  #tls: ServerTls | undefined;
  readonly #date: HttpDate;
  #http: DownstreamOptions;
  #limits: Http1Limits;
  connectionsMax = CONNECTIONS_MAX;
  #policy: ClientPolicy = policyOf(NO_RULES);
  #proxyFrom = new AddressBlocks([]);
  #trusted = new AddressBlocks([]);
  /** Of connections that are closed. */
  readonly #closed: ListenerTraffic = { requests: 0, bytesIn: 0, bytesOut: 0 };
  /** Who is behind a load balancer, by the balancer's own address and port. */
  readonly #sources = new Map<string, Source>();
  readonly #connections = new Set<ClientConnection>();
  #onEmpty: (() => void) | undefined = undefined;
  #draining = false;
  /** Sockets that were accepted, whatever became of them. */
  #come = 0;

  constructor(options: ListenOptions) {
    this.#options = options;
    this.#tls = options.tls;
    this.#date = new HttpDate(options.clock);
    this.#limits = limitsOf(undefined);
    this.#http = this.#httpOptions();
    // Half-open: a client may end its side after the request and still read the answer.
    const accept = (socket: Socket): void => this.#accept(socket);
    this.servers = Array.from({ length: options.sharing === "alone" ? 1 : ACCEPTORS }, () =>
      createServer({ allowHalfOpen: true, noDelay: true }, accept),
    );
    this.#tlsServer = options.tls === undefined ? undefined : this.#serveTls(options.tls);
    this.useRules(options.group.listeners[0]?.rules);
  }

  traffic(): ListenerTraffic {
    const all = { ...this.#closed };
    for (const client of this.clients()) addTraffic(all, client);
    return all;
  }

  *clients(): Iterable<ClientInfo> {
    for (const connection of this.#connections) {
      const info = connection.info();
      if (info !== undefined) yield info;
    }
  }

  useRules(rules: ClientRules = NO_RULES): void {
    this.#limits = this.#options.limits ?? limitsOf(rules);
    this.#policy = policyOf(rules);
    this.#proxyFrom = new AddressBlocks(rules.proxyProtocolFrom);
    this.#trusted = new AddressBlocks(rules.trustedForwarders);
    this.#http = this.#httpOptions();
    this.connectionsMax = rules.connectionsMax ?? CONNECTIONS_MAX;
  }

  useTls(tls: ServerTls): void {
    this.#tls = tls;
    this.#tlsServer?.setSecureContext(tls.options);
  }

  drain(clock: Clock, maxMs: Millis): Promise<void> {
    return new Promise((resolve) => {
      const come = (): number => this.#come;
      closeWhenQuiet(clock, come, () => resolve(this.closeAndDrain(clock, maxMs)));
    });
  }

  /** Nobody is accepted any more. */
  close(): void {
    for (const server of this.servers) server.close();
  }

  closeAndDrain(clock: Clock, maxMs: Millis): Promise<void> {
    this.close();
    this.#draining = true;
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

  #httpOptions(): DownstreamOptions {
    const { group, handler, wheel, self, tls } = this.#options;
    return {
      listener: group.name,
      secure: tls !== undefined,
      recycles: true,
      handler,
      wheel,
      date: this.#date,
      self,
      limits: this.#limits,
      policy: this.#policy,
      onRefused: (reason, peer, known) => this.#onRefused(reason, peer, known),
      onClosed: (connection) => this.#forget(connection),
    };
  }

  #serveTls(tls: ServerTls): TlsServer {
    const server = createTlsServer(
      { ...tls.options, allowHalfOpen: true, handshakeTimeout: HANDSHAKE_MS },
      (socket) => this.#admit(socket),
    );
    server.on("tlsClientError", (_error: Error, socket: Socket) => {
      this.counters.tlsRefused++;
      socket.destroy();
    });
    server.on("OCSPRequest", (leaf: Buffer, _issuer: Buffer, answer) =>
      answer(null, this.#tls?.ocspOf?.(leaf) ?? null),
    );
    return server;
  }

  /** First who is there, if a load balancer is to say it. */
  #accept(socket: Socket): void {
    this.#come++;
    const { filesMax = Number.POSITIVE_INFINITY } = this.#options;
    if (fileOf(socket) > filesMax) {
      this.counters.noFiles++;
      socket.destroy();
      return;
    }
    // Not by the server's own bound: it does not see when a recycled socket ends.
    if (this.#sockets >= this.connectionsMax) {
      this.counters.full++;
      socket.destroy();
      return;
    }
    const { remoteAddress = "", remotePort = 0 } = socket;
    if (!this.#proxyFrom.has(remoteAddress)) {
      this.#serve(socket, true);
      return;
    }
    this.#readFirst(socket, readProxyHeader, (header, rest) => {
      if (header.source !== undefined) {
        const key = `${remoteAddress} ${remotePort}`;
        this.#sources.set(key, header.source);
        socket.once("close", () => this.#sources.delete(key));
      }
      const after = rest.subarray(header.length);
      if (after.length > 0) socket.unshift(after);
      this.#serve(socket, false);
      // Paused so far. A TCP connection stays so until there is an endpoint; TLS reads by itself.
      const { protocol } = this.#options.group;
      if (protocol === "HTTP" || protocol === "TLS") socket.resume();
    });
  }

  /** @param fresh nothing of it has been read. */
  #serve(socket: Socket, fresh: boolean): void {
    const { protocol } = this.#options.group;
    if (this.#tlsServer !== undefined) {
      socket.on("error", () => {});
      this.#holdWhileOpen(socket);
      this.#tlsServer.emit("connection", socket);
    } else if (protocol === "TCP") this.#takeTcp(socket, undefined, Buffer.alloc(0));
    else if (protocol === "TLS") {
      this.#readFirst(socket, readClientHello, ({ serverName }, bytes) =>
        this.#takeTcp(socket, serverName, bytes),
      );
    } else {
      const admitted = { peer: this.#anonymous(socket), servedHosts: undefined };
      this.#takeHttp(socket, admitted, fresh);
    }
  }

  #admit(socket: TLSSocket): void {
    const admitted = this.#tls!.admit(socket, () => this.#anonymous(socket));
    if (admitted !== undefined) {
      this.#takeHttp(socket, admitted, false);
      return;
    }
    this.counters.tlsRefused++;
    socket.destroy();
  }

  #takeHttp(socket: Socket, admitted: Admitted, recycles: boolean): void {
    this.counters.accepted++;
    this.counters.open++;
    const options = recycles ? this.#http : { ...this.#http, recycles };
    const connection = new DownstreamConnection(socket, admitted, options);
    this.#connections.add(connection);
    if (this.#draining) connection.drain();
  }

  /** Connections of clients. Over TLS each is held twice once its handshake is done. */
  get #sockets(): number {
    return this.#connections.size - (this.#tlsServer === undefined ? 0 : this.counters.open);
  }

  /** What lies under TLS: a drain waits for a handshake too, which is bounded by its own time limit. */
  #holdWhileOpen(socket: Socket): void {
    const held: ClientConnection = {
      info: () => undefined,
      drain: () => {},
      destroy: () => socket.destroy(),
    };
    this.#connections.add(held);
    socket.once("close", () => this.#drop(held));
  }

  #takeTcp(socket: Socket, serverName: string | undefined, first: Buffer): void {
    const { group, handler } = this.#options;
    this.counters.accepted++;
    this.counters.open++;
    const connection = new TcpConnection(socket, {
      listener: group.name,
      peer: this.#anonymous(socket),
      serverName,
      policy: this.#policy,
      first,
      onClosed: (closed) => this.#forget(closed),
    });
    this.#connections.add(connection);
    handler.onRequest(connection);
  }

  /** Reads until `read` can say what the connection begins with; who does not say it in time is closed. */
  #readFirst<T extends { readonly kind: string }>(
    socket: Socket,
    read: (bytes: Buffer) => T | { readonly kind: "more" } | { readonly kind: "bad" },
    then: (found: Exclude<T, { kind: "more" } | { kind: "bad" }>, bytes: Buffer) => void,
  ): void {
    const { wheel } = this.#options;
    const timeout = new Timeout(() => preamble.refuse());
    const preamble: Preamble<T> = new Preamble(socket, read, {
      found: (found, bytes) => {
        wheel.disarm(timeout);
        this.#connections.delete(preamble);
        then(found, bytes);
      },
      refused: () => {
        wheel.disarm(timeout);
        this.counters.preambleRefused++;
        this.#drop(preamble);
      },
      drain: () => wheel.arm(timeout, Math.min(FIRST_REQUEST_MS, this.#limits.headTimeoutMs)),
      gone: () => {
        wheel.disarm(timeout);
        this.#drop(preamble);
      },
    });
    wheel.arm(timeout, this.#limits.headTimeoutMs);
    this.#connections.add(preamble);
  }

  #anonymous(socket: Socket): Peer {
    const { remoteAddress = "", remotePort = 0 } = socket;
    const trusted = this.#trusted.has(remoteAddress);
    if (this.#sources.size === 0) return anonymous(remoteAddress, remotePort, trusted);
    const source = this.#sources.get(`${remoteAddress} ${remotePort}`);
    if (source === undefined) return anonymous(remoteAddress, remotePort, trusted);
    return anonymous(source.address, source.port, this.#trusted.has(source.address));
  }

  #forget(connection: ClientConnection): void {
    if (!this.#connections.has(connection)) return;
    this.counters.open--;
    const info = connection.info();
    if (info !== undefined) addTraffic(this.#closed, info);
    this.#drop(connection);
  }

  #drop(connection: ClientConnection): void {
    this.#connections.delete(connection);
    if (this.#connections.size === 0) this.#onEmpty?.();
  }

  #onRefused(reason: Failure, { address }: Peer, known: boolean): void {
    const { kind } = reason;
    const { accessLog, clock, group } = this.#options;
    if (!known && accessLog !== undefined && this.#policy.accessLogShare !== undefined) {
      const about = { listener: group.name, client: address, status: FAILURES[kind].status };
      accessLog.write(refusedLine(about, reason, clock.wall()));
    }
    this.counters.refused.set(kind, (this.counters.refused.get(kind) ?? 0) + 1);
  }
}

function addTraffic(sum: ListenerTraffic, { requests, bytesIn, bytesOut }: ListenerTraffic): void {
  sum.requests += requests;
  sum.bytesIn += bytesIn;
  sum.bytesOut += bytesOut;
}

/** Without a byte of an answer, or of a tunnel in either direction (Envoy: stream_idle_timeout). */
const STREAM_IDLE_MS: Millis = 300_000;

function policyOf(rules: ClientRules): ClientPolicy {
  const { streamIdleMs = STREAM_IDLE_MS, forwarded, accessLogShare } = rules;
  return { streamIdleMs, forwarded, accessLogShare };
}
