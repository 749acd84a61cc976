import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
} from "node:http2";

/** What is asked. Messages of a stream are sent one by one, each when the one before has come back. */
export interface PoliteRequest {
  readonly method: string;
  readonly host: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
  readonly messages?: readonly Buffer[];
}

/** A complete answer, or why there is none. */
export interface PoliteAnswer {
  readonly status: number;
  readonly body: Buffer;
  readonly trailers: IncomingHttpHeaders;
  readonly failed: string | undefined;
}

/** Between two messages of a stream, and before a port that refuses connections is tried again. */
const PACE_MS = 20;
const PATIENCE_MS = 20_000;

/**
 * An HTTP/2 client that does what RFC 9113 §6.8 and §8.7 let it do, and no more: after GOAWAY it goes on over another
 * connection, to the next of its ports, and sends again what a server says that it has not acted on, or what left on a
 * connection that never came about.
 */
export class PoliteHttp2 {
  /** Connections that were ended by a GOAWAY. */
  goaways = 0;
  /** Requests that were sent again. */
  again = 0;
  readonly #ports: readonly number[];
  #at = 0;
  #session: ClientHttp2Session | undefined = undefined;

  constructor(ports: readonly number[]) {
    this.#ports = ports;
  }

  async ask(asked: PoliteRequest): Promise<PoliteAnswer> {
    const end = performance.now() + PATIENCE_MS;
    for (;;) {
      const answer = await this.#try(asked);
      if (answer !== "again" || performance.now() > end) {
        return answer === "again" ? failed("turned away for too long") : answer;
      }
      this.again++;
      await pause();
    }
  }

  close(): void {
    this.#session?.destroy();
  }

  #try(asked: PoliteRequest): Promise<PoliteAnswer | "again"> {
    const session = this.#open();
    const { method, host, path, headers = {}, body, messages } = asked;
    const stream = session.request(
      { ":method": method, ":authority": host, ":path": path, ...headers },
      { endStream: body === undefined && messages === undefined },
    );
    const heard = hear(stream);
    if (messages !== undefined) void talk(stream, messages, heard);
    else if (body !== undefined) stream.end(body);
    return new Promise((resolve) => {
      let problem = "";
      stream.on("error", (error: NodeJS.ErrnoException) => {
        problem = error.code ?? error.message;
      });
      stream.on("close", () => {
        const { status, trailers } = heard;
        const { rstCode } = stream;
        const neverWas = !settled.has(session) && status === 0;
        const unseen = rstCode === constants.NGHTTP2_REFUSED_STREAM || neverWas;
        if (heard.ended && rstCode === 0) {
          resolve({ status, body: Buffer.concat(heard.chunks), trailers, failed: undefined });
        } else resolve(unseen ? "again" : failed(`${problem} code ${rstCode}, status ${status}`));
      });
    });
  }

  #open(): ClientHttp2Session {
    const before = this.#session;
    if (before !== undefined && !before.closed && !before.destroyed) return before;
    const port = this.#ports[this.#at++ % this.#ports.length]!;
    const session = connect(`http://127.0.0.1:${port}`);
    this.#session = session;
    session.on("error", () => {});
    session.on("remoteSettings", () => settled.add(session));
    session.once("goaway", () => void this.goaways++);
    return session;
  }
}

/** Connections on which a server has spoken. */
const settled = new WeakSet<ClientHttp2Session>();

interface Heard {
  status: number;
  readonly chunks: Buffer[];
  bytes: number;
  trailers: IncomingHttpHeaders;
  ended: boolean;
}

function hear(stream: ClientHttp2Stream): Heard {
  const heard: Heard = { status: 0, chunks: [], bytes: 0, trailers: {}, ended: false };
  stream.on("response", (head) => {
    heard.status = head[":status"] ?? 0;
  });
  stream.on("data", (chunk: Buffer) => {
    heard.chunks.push(chunk);
    heard.bytes += chunk.length;
  });
  stream.on("trailers", (fields) => {
    heard.trailers = fields;
  });
  stream.on("end", () => {
    heard.ended = true;
  });
  return heard;
}

async function talk(
  stream: ClientHttp2Stream,
  messages: readonly Buffer[],
  heard: Heard,
): Promise<void> {
  let due = 0;
  for (const message of messages) {
    if (stream.destroyed) return;
    stream.write(message);
    due += message.length;
    while (heard.bytes < due && !stream.destroyed && !heard.ended) await pause();
  }
  stream.end();
}

function failed(why: string): PoliteAnswer {
  return { status: 0, body: Buffer.alloc(0), trailers: {}, failed: why };
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, PACE_MS));
}
