import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import {
  createServer as createHttp2,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo } from "node:net";
import { bodyOf } from "#bench/soak/bodies.ts";

/** Where a stream's own body is asked for. */
export function pathOf(stream: number, bytes: number): string {
  return `/${stream}/${bytes}`;
}

function bodyAt(path: string): Buffer {
  const [, stream, bytes] = path.split("/").map(Number);
  return bodyOf(stream!, bytes!);
}

/** A service of HTTP/1.1 that sends the body that a path names, or what it gets. */
export class PlainOrigin {
  readonly #server: Server;

  constructor() {
    this.#server = createServer({ keepAliveTimeout: 60_000 }, (asked, answer) => {
      asked.on("error", () => {});
      answer.on("error", () => {});
      answerOne(asked, answer);
    });
  }

  start(): Promise<number> {
    return listening(this.#server);
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

function answerOne(asked: IncomingMessage, answer: ServerResponse): void {
  if (asked.method === "GET") {
    const body = bodyAt(asked.url!);
    // Half of them without a length.
    if (body.length % 2 === 0) answer.setHeader("content-length", body.length);
    answer.end(body);
  } else asked.pipe(answer);
}

/** The same over HTTP/2, and calls whose every message comes back. */
export class Http2Origin {
  readonly #server: Http2Server = createHttp2({ maxSessionMemory: 1_000 });
  readonly #sessions = new Set<ServerHttp2Session>();

  start(): Promise<number> {
    this.#server.on("session", (session) => {
      this.#sessions.add(session);
      session.on("error", () => {});
      session.on("close", () => this.#sessions.delete(session));
    });
    this.#server.on("stream", (stream: ServerHttp2Stream, head: IncomingHttpHeaders) => {
      stream.on("error", () => {});
      if (head[":method"] === "GET") {
        stream.respond({ ":status": 200 });
        stream.end(bodyAt(head[":path"]!));
        return;
      }
      const isCall = head["content-type"] === "application/grpc";
      const type = isCall ? { "content-type": "application/grpc" } : {};
      stream.respond({ ":status": 200, ...type }, { waitForTrailers: isCall });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      stream.pipe(stream);
    });
    return listening(this.#server);
  }

  stop(): void {
    for (const session of this.#sessions) session.destroy();
    this.#server.close();
  }
}

async function listening(server: Server | Http2Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}
