import { createServer as createHttp, type IncomingMessage, type Server } from "node:http";
import { createSecureServer, type Http2ServerRequest } from "node:http2";
import { createServer as createHttps } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { createServer as createTls, type TLSSocket } from "node:tls";

/** What a server agrees to by ALPN; `silent`: it has never heard of it, and speaks HTTP/1.1. */
export type Speaks = "h2" | "http/1.1" | "both" | "silent";

/** One request as a server has seen it. */
export interface SeenRequest {
  readonly version: string;
  readonly method: string;
  readonly path: string;
  readonly host: string;
  /** `:scheme`; undefined in HTTP/1.1. */
  readonly scheme: string | undefined;
  /** Name that the handshake asked for. */
  readonly servername: string | false | undefined;
}

/** A server of Node's own that speaks TLS, and says in each answer what it was asked. */
export class TlsOrigin {
  readonly seen: SeenRequest[] = [];
  readonly port: number;
  readonly #server: Server;
  readonly #sockets: ReadonlySet<Socket>;
  /** Paths that are answered only by `release`. */
  readonly #held: Array<() => void> = [];

  private constructor(server: Server, sockets: ReadonlySet<Socket>) {
    this.#server = server;
    this.#sockets = sockets;
    this.port = (server.address() as AddressInfo).port;
  }

  /** @param identity certificate, or a chain, and key of it, PEM. */
  static async start(
    identity: { readonly pem: string; readonly keyPem: string },
    speaks: Speaks,
    more: { readonly port?: number; readonly extendedConnect?: boolean } = {},
  ): Promise<TlsOrigin> {
    const { port = 0, extendedConnect = false } = more;
    const pair = { cert: identity.pem, key: identity.keyPem };
    const holder: { origin?: TlsOrigin } = {};
    const server = serverOf(speaks, pair, extendedConnect, (request, answer) =>
      holder.origin!.#onRequest(request as IncomingMessage, answer),
    );
    const sockets = new Set<Socket>();
    server.on("secureConnection", (socket: Socket) => {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
      socket.on("error", () => {});
    });
    server.on("tlsClientError", () => {});
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    holder.origin = new TlsOrigin(server, sockets);
    return holder.origin;
  }

  get server(): Server {
    return this.#server;
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#sockets.size;
  }

  /** Answers what was asked for `/held`. */
  release(): void {
    for (const answer of this.#held.splice(0)) answer();
  }

  /** Takes no new connection; those that are open stay. */
  unlisten(): void {
    this.#server.close();
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #onRequest(request: IncomingMessage, answer: AnswerLike): void {
    const socket = request.socket as TLSSocket & { readonly servername?: string | false };
    const { authority, scheme, stream } = request as unknown as Http2ServerRequest;
    const isHttp2 = request.httpVersion === "2.0";
    const seen: SeenRequest = {
      version: request.httpVersion,
      method: request.method!,
      path: request.url!,
      host: isHttp2 ? authority : request.headers.host!,
      scheme: isHttp2 ? scheme : undefined,
      servername: isHttp2
        ? (stream.session!.socket as typeof socket).servername
        : socket.servername,
    };
    const respond = (): void => void answer.end(JSON.stringify(seen));
    request.on("data", () => {});
    request.on("end", () => {
      this.seen.push(seen);
      if (seen.path === "/held") this.#held.push(respond);
      else respond();
    });
  }
}

interface AnswerLike {
  end(text: string): unknown;
}

type OnRequest = (request: unknown, answer: AnswerLike) => void;

function serverOf(
  speaks: Speaks,
  pair: { readonly cert: string; readonly key: string },
  enableConnectProtocol: boolean,
  onRequest: OnRequest,
): Server {
  if (speaks === "silent") {
    const http = createHttp(onRequest);
    const server = createTls(pair, (socket) => http.emit("connection", socket));
    return server as unknown as Server;
  }
  if (speaks === "http/1.1") return createHttps(pair, onRequest);
  const settings = { enableConnectProtocol };
  const options = { ...pair, settings, allowHTTP1: speaks === "both" };
  return createSecureServer(options, onRequest) as unknown as Server;
}
