import { request } from "node:http";
import { connect, type IncomingHttpHeaders } from "node:http2";
import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  Server,
  ServerCredentials,
} from "@grpc/grpc-js";

const same = (bytes: Buffer): Buffer => bytes;
const method = (name: string, responseStream: boolean) => ({
  path: `/test.Echo/${name}`,
  ...{ requestStream: false, responseStream },
  ...{ requestSerialize: same, requestDeserialize: same },
  ...{ responseSerialize: same, responseDeserialize: same },
});

/** What the methods of an endpoint do with a message, as bytes. */
export interface EchoMethods {
  readonly Unary?: handleUnaryCall<Buffer, Buffer>;
  readonly Stream?: handleServerStreamingCall<Buffer, Buffer>;
}

/** An endpoint of gRPC with the service `test.Echo`; by default `Unary` says what it is told. */
export async function startEcho(methods: EchoMethods = {}): Promise<{
  readonly port: number;
  stop(): void;
}> {
  const server = new Server({
    "grpc.max_receive_message_length": -1,
    "grpc.max_send_message_length": -1,
  });
  const Unary: handleUnaryCall<Buffer, Buffer> = ({ request }, answer) => answer(null, request);
  const Stream: handleServerStreamingCall<Buffer, Buffer> = (call) => call.end();
  server.addService(
    { Unary: method("Unary", false), Stream: method("Stream", true) },
    { Unary, Stream, ...methods },
  );
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  return { port, stop: () => server.forceShutdown() };
}

/** A message of gRPC. */
export function messageOf(content: string | Buffer): Buffer {
  const bytes = Buffer.from(content as string, "latin1");
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
}

/** What a body of gRPC-Web says: its messages, and the trailers at its end. */
export interface WebBody {
  readonly messages: readonly Buffer[];
  /** As they are written; undefined: there are none. */
  readonly trailers: string | undefined;
  /** Bytes of a frame that has not ended. */
  readonly rest: number;
}

/** Reads frames; those of trailers end a body. */
export function readFrames(body: Buffer): WebBody {
  const messages: Buffer[] = [];
  let at = 0;
  while (at + 5 <= body.length) {
    const end = at + 5 + body.readUInt32BE(at + 1);
    if (end > body.length) break;
    const content = body.subarray(at + 5, end);
    if (body[at] === 0x80) {
      return { messages, trailers: content.toString("latin1"), rest: body.length - end };
    }
    messages.push(content);
    at = end;
  }
  return { messages, trailers: undefined, rest: body.length - at };
}

/** Base64 of pieces that are each padded by themselves. */
export function readText(text: string): Buffer {
  const pieces = text.match(/[^=]+={0,2}/g) ?? [];
  return Buffer.concat(pieces.map((piece) => Buffer.from(piece, "base64")));
}

/** An answer while it comes. */
export class WebAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** `cut`: it broke off. */
  state: "open" | "ended" | "cut" = "open";
  /** In HTTP's own place. */
  trailers: Readonly<Record<string, unknown>> = {};
  /** All that has come of the body. */
  readonly chunks: Buffer[] = [];

  constructor(status: number, headers: IncomingHttpHeaders) {
    this.status = status;
    this.headers = headers;
  }

  /** As bytes of frames. @param text it is base64. */
  body(text: boolean): Buffer {
    const bytes = Buffer.concat(this.chunks);
    return text ? readText(bytes.toString("latin1")) : bytes;
  }
}

/** A call whose body the test writes. */
export interface WebCall {
  /** The head of the answer has come. */
  readonly answer: Promise<WebAnswer>;
  write(chunk: Buffer | string): void;
  end(chunk?: Buffer | string): void;
  /** Goes away. */
  leave(): void;
}

/** How a client asks. */
export interface WebAsked {
  readonly path?: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** Calls over a connection of HTTP/1.1 of its own. */
export function callHttp1(port: number, { path = "/test.Echo/Unary", headers }: WebAsked): WebCall {
  const sent = request({
    ...{ host: "127.0.0.1", port, path, method: "POST", agent: false },
    headers: { host: "a", ...headers },
  });
  const answer = new Promise<WebAnswer>((resolve, reject) => {
    sent.on("error", reject);
    sent.on("response", (heard) => {
      const answer = new WebAnswer(heard.statusCode!, heard.headers);
      heard.on("data", (chunk: Buffer) => answer.chunks.push(chunk));
      heard.on("error", () => {
        answer.state = "cut";
      });
      heard.on("end", () => {
        answer.trailers = heard.trailers;
        answer.state = heard.complete ? "ended" : "cut";
      });
      resolve(answer);
    });
  });
  answer.catch(() => {});
  return {
    answer,
    write: (chunk) => void sent.write(chunk),
    end: (chunk) => void sent.end(chunk),
    leave: () => void sent.destroy(),
  };
}

/** Calls over a connection of HTTP/2 of its own. */
export function callHttp2(port: number, { path = "/test.Echo/Unary", headers }: WebAsked): WebCall {
  const session = connect(`http://127.0.0.1:${port}`);
  const stream = session.request({ ":method": "POST", ":path": path, ...headers });
  session.on("error", () => {});
  stream.on("close", () => session.close());
  const answer = new Promise<WebAnswer>((resolve, reject) => {
    stream.on("error", reject);
    stream.on("response", (headers) => {
      const answer = new WebAnswer(headers[":status"]!, headers);
      stream.on("data", (chunk: Buffer) => answer.chunks.push(chunk));
      stream.on("trailers", (trailers) => {
        answer.trailers = trailers;
      });
      stream.on("close", () => {
        answer.state = stream.rstCode === 0 ? "ended" : "cut";
      });
      resolve(answer);
    });
  });
  answer.catch(() => {});
  return {
    answer,
    write: (chunk) => void stream.write(chunk),
    end: (chunk) => void stream.end(chunk),
    leave: () => stream.close(8),
  };
}
