import {
  type ClientRequest,
  createServer,
  type IncomingMessage,
  request,
  type Server,
} from "node:http";
import { Duplex } from "node:stream";
import type { Ending } from "#test/kit/fake_socket.ts";

/*
 * What `node:http` makes of bytes, by its own strict parser (llhttp). It is fed by streams instead of sockets:
 * nothing has to be waited for but the turns of the event loop.
 */

/** A connection whose other end is the test. */
class Wire extends Duplex {
  override _read(): void {}
  override _write(_chunk: Buffer, _encoding: string, done: () => void): void {
    done();
  }
  // What `node:http` calls of a socket.
  setTimeout(): this {
    return this;
  }
  setNoDelay(): this {
    return this;
  }
  setKeepAlive(): this {
    return this;
  }
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A message as it was read. Flat lists: name in lower case, value. */
export interface ReadMessage {
  fields: string[];
  body: string;
  trailers: string[];
  complete: boolean;
}

export interface ReadRequest extends ReadMessage {
  readonly method: string;
  readonly url: string;
}

export interface ReadAnswer extends ReadMessage {
  readonly status: number;
  readonly reason: string;
}

function follow(message: IncomingMessage, read: ReadMessage): void {
  read.fields = lowered(message.rawHeaders);
  message.on("data", (chunk: Buffer) => {
    read.body += chunk.toString("latin1");
  });
  message.on("error", () => {});
  message.on("end", () => {
    read.complete = message.complete;
    read.trailers = lowered(message.rawTrailers);
  });
}

function lowered(raw: readonly string[]): string[] {
  return raw.map((text, i) => (i % 2 === 0 ? text.toLowerCase() : text));
}

/** Reads requests. */
export class NodeServer {
  readonly #server: Server;
  #requests: ReadRequest[] = [];
  #problem: string | undefined = undefined;
  #events = 0;

  constructor() {
    this.#server = createServer(
      { insecureHTTPParser: false, headersTimeout: 0, requestTimeout: 0, keepAliveTimeout: 0 },
      (message, response) => {
        const { method = "", url = "" } = message;
        const read = { method, url, fields: [], body: "", trailers: [], complete: false };
        this.#requests.push(read);
        this.#events++;
        follow(message, read);
        message.on("end", () => {
          this.#events++;
          response.end();
        });
      },
    );
    // The wire stays as it is: what was read before the error is still to be seen whole.
    this.#server.on("clientError", (error: NodeJS.ErrnoException) => {
      this.#problem ??= error.code ?? error.message;
    });
  }

  /** All requests in `bytes`, and why it read no further, if it refused something. */
  async read(
    bytes: Buffer,
  ): Promise<{ readonly requests: readonly ReadRequest[]; readonly problem: string | undefined }> {
    this.#requests = [];
    this.#problem = undefined;
    const wire = new Wire();
    this.#server.emit("connection", wire);
    wire.push(bytes);
    // Until nothing happens any more: each request takes a few turns.
    for (let quiet = 0, before = -1; quiet < 3; quiet++) {
      if (this.#events !== before) quiet = 0;
      before = this.#events;
      await turn();
    }
    const { requests, problem } = { requests: this.#requests, problem: this.#problem };
    wire.destroy();
    await turn();
    return { requests, problem };
  }

  close(): void {
    this.#server.close();
  }
}

/** What a client made of bytes. */
export interface HeardAnswer {
  /** Status and fields of each. */
  readonly interims: readonly string[];
  readonly answer: ReadAnswer | undefined;
  readonly problem: string | undefined;
  /** Bytes behind the answer's end were taken for something. */
  readonly stray: boolean;
}

/** Reads `bytes` as the answer to a request, from a connection that then ends as `ending` says. */
export async function readAnswer(
  method: string,
  bytes: Buffer,
  ending: Ending,
): Promise<HeardAnswer> {
  const wire = new Wire();
  const interims: string[] = [];
  let answer: ReadAnswer | undefined;
  let problem: string | undefined;
  let events = 0;
  const sent: ClientRequest = request({
    method,
    insecureHTTPParser: false,
    createConnection: () => wire,
    headers: { host: "a", connection: "keep-alive" },
  });
  sent.on("information", ({ statusCode, rawHeaders }) => {
    interims.push(`${statusCode} ${lowered(rawHeaders).join("|")}`);
    events++;
  });
  sent.on("response", (message) => {
    const { statusCode: status = 0, statusMessage: reason = "" } = message;
    answer = { status, reason, fields: [], body: "", trailers: [], complete: false };
    events++;
    follow(message, answer);
    message.on("close", () => events++);
  });
  sent.on("error", (error: NodeJS.ErrnoException) => {
    problem ??= error.code ?? error.message;
    events++;
  });
  sent.end();
  await turn();
  wire.push(bytes);
  if (ending === "reset") setImmediate(() => wire.destroy(new Error("ECONNRESET")));
  else if (ending !== "") wire.push(null);
  for (let quiet = 0, before = -1; quiet < 3; quiet++) {
    if (events !== before) quiet = 0;
    before = events;
    await turn();
  }
  const stray = wire.readableLength > 0;
  sent.destroy();
  wire.destroy();
  await turn();
  return { interims, answer, problem, stray };
}
