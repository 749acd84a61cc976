import type { Socket } from "node:net";
import type { TimerWheel } from "#kernel/timer_wheel.ts";
import type { Peer } from "#proxy/exchange/peer.ts";
import { ClientAddresses } from "#proxy/listen/client_address.ts";
import type { ClientSet } from "#proxy/listen/client_set.ts";
import type { ListenerCounters } from "#proxy/listen/listener_counters.ts";
import type { PortGroup } from "#proxy/listen/port_groups.ts";
import type { PortRules } from "#proxy/listen/port_rules.ts";
import { type PreambleOptions, readFirst } from "#proxy/listen/preamble.ts";
import type { Protocols } from "#proxy/listen/protocols.ts";
import { readProxyHeader } from "#proxy/listen/proxy_protocol.ts";
import type { ServerTls } from "#proxy/listen/server_tls.ts";
import { TlsAccept } from "#proxy/listen/tls_accept.ts";
import { readClientHello } from "#proxy/tcp/client_hello.ts";

const NOTHING: Buffer = Buffer.alloc(0);

export interface EntranceOptions {
  readonly kind: PortGroup["protocol"];
  /** Of HTTPS and MESH. */
  readonly tls: ServerTls | undefined;
  readonly wheel: TimerWheel;
  readonly clients: ClientSet;
  readonly counters: ListenerCounters;
  /** Where connections begin once they are through. */
  readonly protocols: Protocols;
}

/**
 * The way of a connection from its accept to its begin: who is there, by a load balancer's word (PROXY
 * protocol) or by TLS, and whom it asks for. Bytes that had to be read for that go with it.
 */
export class Entrance {
  readonly #options: EntranceOptions;
  readonly #tls: TlsAccept | undefined;
  readonly #addresses = new ClientAddresses();
  #rules: PortRules;

  constructor(options: EntranceOptions, rules: PortRules) {
    this.#options = options;
    this.#rules = rules;
    this.#tls = options.tls === undefined ? undefined : this.#tlsAccept(options.tls);
  }

  useRules(rules: PortRules): void {
    this.#rules = rules;
  }

  useTls(tls: ServerTls): void {
    this.#tls?.use(tls);
  }

  /** Somebody has come. */
  enter(socket: Socket): void {
    if (!this.#rules.proxyFrom.has(socket.remoteAddress ?? "")) {
      this.#identified(socket, NOTHING, true);
      return;
    }
    this.#readFirst(socket, NOTHING, readProxyHeader, (header, bytes) => {
      if (header.source !== undefined) this.#addresses.note(socket, header.source);
      this.#identified(socket, bytes.subarray(header.length), false);
    });
  }

  /** It is known who speaks; if not by TLS. @param fresh nothing of it has been read. */
  #identified(socket: Socket, first: Buffer, fresh: boolean): void {
    const { kind, clients, protocols } = this.#options;
    if (this.#tls !== undefined) {
      socket.on("error", () => {});
      clients.holdWhileOpen(socket);
      this.#tls.take(socket, first);
      return;
    }
    const peer = this.#anonymous(socket);
    const client = { socket, peer, servedHosts: undefined, alpn: undefined };
    if (kind !== "TLS") {
      protocols.begin({ ...client, serverName: undefined, first, fresh });
      return;
    }
    this.#readFirst(socket, first, readClientHello, ({ serverName }, bytes) =>
      protocols.begin({ ...client, serverName, first: bytes, fresh: false }),
    );
  }

  #tlsAccept(tls: ServerTls): TlsAccept {
    const { protocols, counters } = this.#options;
    const rest = { serverName: undefined, first: NOTHING, fresh: false };
    return new TlsAccept(tls, {
      admitted: (socket, { peer, servedHosts }) => {
        const alpn = socket.alpnProtocol || undefined;
        protocols.begin({ socket, peer, servedHosts, alpn, ...rest });
      },
      refused: () => counters.tlsRefused++,
      anonymous: (socket) => this.#anonymous(socket),
    });
  }

  #readFirst<T extends { readonly kind: string }>(
    socket: Socket,
    first: Buffer,
    read: PreambleOptions<T>["read"],
    found: PreambleOptions<T>["found"],
  ): void {
    const { clients, counters, wheel } = this.#options;
    const timeoutMs = this.#rules.limits.headTimeoutMs;
    readFirst(socket, first, { read, found, clients, counters, wheel, timeoutMs });
  }

  #anonymous(socket: Socket): Peer {
    return this.#addresses.peerOf(socket, this.#rules.trusted);
  }
}
