import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { err, ok, type Result } from "#kernel/result.ts";

/** One answer of an admin port. */
export interface AdminAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

/** Answers one path. */
export type AdminRoute = (query: URLSearchParams) => AdminAnswer | Promise<AdminAnswer>;

/** An open admin port. */
export interface AdminServer {
  readonly address: string;
  readonly port: number;
  close(): Promise<void>;
}

/** Plain text, with a newline at its end. */
export function textAnswer(status: number, body: string): AdminAnswer {
  return { status, contentType: "text/plain; charset=utf-8", body: `${body}\n` };
}

/** Indented JSON. */
export function jsonAnswer(status: number, value: unknown): AdminAnswer {
  return { status, contentType: "application/json", body: `${JSON.stringify(value, null, 2)}\n` };
}

/**
 * A small HTTP server for operators: GET and HEAD of fixed paths, and POST where a route is called "POST /path". Bounded: 100 connections,
 * 8 kB of head, 10 s for a request; what it does not understand is refused and the connection closed.
 */
export function openAdmin(options: {
  readonly address: string;
  readonly port: number;
  readonly routes: ReadonlyMap<string, AdminRoute>;
}): Promise<Result<AdminServer, string>> {
  const server = createServer(
    { maxHeaderSize: 8_192, requestTimeout: 10_000, headersTimeout: 10_000 },
    (request, response) => void serve(options.routes, request, response),
  );
  server.maxConnections = 100;
  server.on("clientError", (_error, socket) => socket.destroy());
  return new Promise((resolve) => {
    server.once("error", (error) => resolve(err(error.message)));
    server.listen(options.port, options.address, () => {
      const { address, port } = server.address() as AddressInfo;
      const close = (): Promise<void> =>
        new Promise((done) => {
          server.close(() => done());
          server.closeAllConnections();
        });
      resolve(ok({ address, port, close }));
    });
  });
}

async function serve(
  routes: ReadonlyMap<string, AdminRoute>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const answer = await answerFor(routes, request);
  response.writeHead(answer.status, {
    "content-type": answer.contentType,
    "content-length": Buffer.byteLength(answer.body),
    ...(answer.status === 405 && { allow: "GET, HEAD" }),
    // Nothing here may end up in a page of another origin.
    "x-content-type-options": "nosniff",
  });
  response.end(request.method === "HEAD" ? undefined : answer.body);
}

async function answerFor(
  routes: ReadonlyMap<string, AdminRoute>,
  request: IncomingMessage,
): Promise<AdminAnswer> {
  const { method, url: target = "/" } = request;
  const mark = target.indexOf("?");
  const path = mark < 0 ? target : target.slice(0, mark);
  const isRead = method === "GET" || method === "HEAD";
  const route = routes.get(isRead ? path : `${method} ${path}`);
  if (route === undefined && !isRead && routes.has(path)) return textAnswer(405, "only GET");
  // A browser says on whose page it was told so; an operator's tool does not.
  if (!isRead && request.headers.origin !== undefined) return textAnswer(403, "not from a page");
  if (route === undefined) return textAnswer(404, `try one of: ${[...routes.keys()].join(" ")}`);
  try {
    return await route(new URLSearchParams(mark < 0 ? "" : target.slice(mark + 1)));
  } catch (error) {
    return textAnswer(500, error instanceof Error ? error.message : "failed");
  }
}
