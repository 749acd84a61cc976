import { type Agent, createServer, request, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

/** One request over `agent`, or over a connection of its own. */
export function get(
  port: number,
  options: {
    host?: string;
    path?: string;
    method?: string;
    body?: string | Buffer;
    headers?: Record<string, string>;
    agent?: Agent;
    timeoutMs?: number;
  } = {},
): Promise<Answer> {
  const {
    host,
    path = "/",
    method = "GET",
    body,
    headers = {},
    agent,
    timeoutMs = 10_000,
  } = options;
  return new Promise((resolve, reject) => {
    const sent = request({
      host: "127.0.0.1",
      port,
      path,
      method,
      headers: host === undefined ? headers : { ...headers, host },
      agent: agent ?? false,
      timeout: timeoutMs,
    });
    sent.on("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks).toString("latin1"),
        }),
      );
    });
    sent.on("timeout", () => sent.destroy(new Error("timeout")));
    sent.on("error", reject);
    sent.end(body);
  });
}

/** A plain service that says its name and remembers what it was asked. */
export class TestOrigin {
  readonly server: Server;
  readonly seen: Array<{ method: string; url: string; headers: Record<string, unknown> }> = [];
  readonly name: string;

  constructor(name: string) {
    this.name = name;
    this.server = createServer((asked, response) => {
      this.seen.push({ method: asked.method ?? "", url: asked.url ?? "", headers: asked.headers });
      const chunks: Buffer[] = [];
      asked.on("data", (chunk: Buffer) => chunks.push(chunk));
      asked.on("end", () => {
        response.setHeader("x-served-by", name);
        response.end(chunks.length > 0 ? Buffer.concat(chunks) : name);
      });
    });
    this.server.keepAliveTimeout = 60_000;
  }

  async start(port = 0): Promise<number> {
    await new Promise<void>((resolve) => this.server.listen(port, "127.0.0.1", resolve));
    return this.port;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    await closed;
  }
}

/** Sends raw bytes and returns all that comes back until the connection ends or `quietMs` are over. */
export function rawExchange(
  port: number,
  bytes: string | Buffer,
  quietMs = 2_000,
): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    let said = "";
    const done = (): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(said);
    };
    const timer = setTimeout(done, quietMs);
    socket.on("data", (chunk) => {
      said += chunk.toString("latin1");
    });
    socket.on("error", done);
    socket.on("close", done);
    socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  });
}
