import type { Socket } from "node:net";
import { createServer, type Server, type TLSSocket, type TlsOptions } from "node:tls";
import type { Millis } from "#kernel/brand.ts";
import type { Peer } from "#proxy/exchange/peer.ts";
import type { Admitted, ServerTls } from "#proxy/listen/server_tls.ts";

/** From a TLS connection's start to the end of its handshake. */
const HANDSHAKE_MS: Millis = 5_000;

/** How a handshake ends. */
export interface HandshakeEnds {
  readonly admitted: (socket: TLSSocket, client: Admitted) => void;
  /** It failed, or its client proved to be nobody who may come. */
  readonly refused: () => void;
  /** The peer as its address alone tells it. */
  readonly anonymous: (socket: Socket) => Peer;
}

/** The handshakes of a port, and who is let in after one. */
export class TlsAccept {
  readonly #ends: HandshakeEnds;
  readonly #server: Server;
  #tls: ServerTls;

  constructor(tls: ServerTls, ends: HandshakeEnds) {
    this.#tls = tls;
    this.#ends = ends;
    this.#server = createServer(
      {
        ...tls.options,
        ...(tls.options.SNICallback === undefined ? {} : { SNICallback: this.#contextFor }),
        allowHalfOpen: true,
        handshakeTimeout: HANDSHAKE_MS,
      },
      (socket) => this.#admit(socket),
    );
    this.#server.on("tlsClientError", (_error: Error, socket: Socket) => {
      ends.refused();
      socket.destroy();
    });
    this.#server.on("OCSPRequest", (leaf: Buffer, _issuer: Buffer, answer) =>
      answer(null, this.#tls.ocspOf?.(leaf) ?? null),
    );
  }

  /** `setSecureContext` changes what clients without a server name get; the others ask here, every time. */
  readonly #contextFor: NonNullable<TlsOptions["SNICallback"]> = (name, answer) =>
    this.#tls.options.SNICallback!(name, answer);

  /** New handshakes use this from now on. */
  use(tls: ServerTls): void {
    this.#tls = tls;
    this.#server.setSecureContext(tls.options);
  }

  /** @param first what has been read of `socket`: TLS reads it from there. */
  take(socket: Socket, first: Buffer): void {
    if (first.length > 0) socket.unshift(first);
    this.#server.emit("connection", socket);
  }

  #admit(socket: TLSSocket): void {
    const client = this.#tls.admit(socket, () => this.#ends.anonymous(socket));
    if (client !== undefined) {
      this.#ends.admitted(socket, client);
      return;
    }
    this.#ends.refused();
    socket.destroy();
  }
}
