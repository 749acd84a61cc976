import type { AddressInfo } from "node:net";
import { createServer, type Server, type TLSSocket, type TlsOptions } from "node:tls";
import type { HostPort } from "#control/config/scalars.ts";
import type { Clock } from "#kernel/clock.ts";
import { err, ok, type Result } from "#kernel/result.ts";

/** Connections that an API port holds at once. */
const CONNECTIONS_MAX = 5_000;
/** From the connect to the end of the handshake. */
const HANDSHAKE_MS = 5_000;

export interface TlsFrontOptions {
  readonly listen: HostPort;
  readonly tls: TlsOptions;
  readonly clock: Clock;
  /** False: the connection is closed before a byte of it is read. Called as soon as it is secured. */
  readonly admit: (socket: TLSSocket) => boolean;
  readonly serve: (socket: TLSSocket) => void;
}

/**
 * A TLS port in front of a gRPC server: peers are judged by our own verifier before HTTP/2 sees a byte
 * of them, and a new identity is taken up without closing anything.
 */
export class TlsFront {
  readonly #server: Server;
  readonly #sockets = new Set<TLSSocket>();
  readonly address: HostPort;
  /** Handshakes that failed, and peers that were not admitted. */
  refused = 0;

  private constructor(server: Server, address: HostPort) {
    this.#server = server;
    this.address = address;
  }

  static open(options: TlsFrontOptions): Promise<Result<TlsFront, string>> {
    const { listen, tls, admit, serve } = options;
    const server = createServer({
      ...tls,
      ALPNProtocols: ["h2"],
      handshakeTimeout: HANDSHAKE_MS,
    });
    server.maxConnections = CONNECTIONS_MAX;
    return new Promise((resolve) => {
      const place = `${listen.address}:${listen.port}`;
      server.once("error", (error) => resolve(err(`${place}: ${error.message}`)));
      server.listen({ host: listen.address, port: listen.port }, () => {
        const { address, port } = server.address() as AddressInfo;
        const front = new TlsFront(server, { address, port });
        server.on("error", () => {});
        server.on("tlsClientError", (_error, socket) => {
          front.refused++;
          socket.destroy();
        });
        server.on("secureConnection", (socket) => front.#take(socket, admit, serve));
        resolve(ok(front));
      });
    });
  }

  /** Handshakes from now on use these. */
  useTls(tls: TlsOptions): void {
    this.#server.setSecureContext(tls);
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #take(socket: TLSSocket, admit: TlsFrontOptions["admit"], serve: TlsFrontOptions["serve"]): void {
    socket.on("error", () => {});
    if (!admit(socket)) {
      this.refused++;
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    serve(socket);
  }
}
