import type { EventEmitter } from "node:events";
import { fileURLToPath } from "node:url";
import {
  type CallOptions,
  type ChannelOptions,
  type ClientReadableStream,
  type ClientUnaryCall,
  type ClientWritableStream,
  credentials,
  loadPackageDefinition,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceClientConstructor,
  type ServiceError,
  type StatusObject,
  type sendUnaryData,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

/* A gRPC service that does in each shape what it is asked to, and a client for it: `@grpc/grpc-js` on both sides. */

/** A message as it is said; what is left out is zero. */
export interface Ask {
  readonly body?: Buffer;
  readonly count?: number;
  readonly size?: number;
  readonly code?: number;
  readonly words?: string;
  readonly stays?: boolean;
}

export interface Reply {
  readonly body: Buffer;
  readonly by: string;
  readonly asked: number;
  readonly nth: number;
}

/** Messages and metadata of any length. */
const UNBOUNDED: ChannelOptions = {
  "grpc.max_receive_message_length": -1,
  "grpc.max_send_message_length": -1,
};

function load(): ServiceClientConstructor {
  const file = fileURLToPath(new URL("echo.proto", import.meta.url));
  const packages = loadPackageDefinition(loadSync(file, { defaults: true })) as unknown as {
    readonly espalier: { readonly test: { readonly Echo: ServiceClientConstructor } };
  };
  return packages.espalier.test.Echo;
}

const Echo = load();

type Call =
  | ServerUnaryCall<Required<Ask>, Partial<Reply>>
  | ServerReadableStream<Required<Ask>, Partial<Reply>>
  | ServerWritableStream<Required<Ask>, Partial<Reply>>
  | ServerDuplexStream<Required<Ask>, Partial<Reply>>;
type WritingCall = Extract<Call, { write(reply: Partial<Reply>): boolean }>;

/** What is known of a call at the server. */
export interface SeenCall {
  readonly path: string;
  readonly metadata: Metadata;
  /** Between its coming and the deadline that it was given, ms; infinite: it was given none. */
  readonly leftMs: number;
  cancelled: boolean;
  asked: number;
  /** Replies that were handed to the library. */
  replied: number;
}

/** The service. What it gets in `x-echo` and `x-echo-bin` it gives back as initial metadata, and in `x-last*` as trailing. */
export class EchoServer {
  readonly name: string;
  readonly calls: SeenCall[] = [];
  port = 0;
  readonly #server: Server;

  constructor(name: string) {
    this.name = name;
    this.#server = new Server(UNBOUNDED);
    this.#server.addService(Echo.service, {
      Unary: (call: ServerUnaryCall<Required<Ask>, Reply>, done: sendUnaryData<Partial<Reply>>) => {
        const seen = this.#see(call);
        seen.asked = 1;
        this.#end(call, seen, call.request, done);
      },
      Collect: (
        call: ServerReadableStream<Required<Ask>, Reply>,
        done: sendUnaryData<Partial<Reply>>,
      ) => this.#collect(call, done),
      Expand: (call: ServerWritableStream<Required<Ask>, Partial<Reply>>) => {
        const seen = this.#see(call);
        seen.asked = 1;
        this.#reply(call, seen, call.request, () => call.end(lastOf(call.metadata)));
      },
      Chat: (call: ServerDuplexStream<Required<Ask>, Partial<Reply>>) => this.#chat(call),
    });
  }

  /** @param tls its certificate and key, PEM; absent: in the clear. */
  async start(port = 0, tls?: { readonly pem: string; readonly keyPem: string }): Promise<number> {
    this.port = await new Promise<number>((resolve, reject) => {
      const pair = tls && {
        cert_chain: Buffer.from(tls.pem),
        private_key: Buffer.from(tls.keyPem),
      };
      const to =
        pair === undefined
          ? ServerCredentials.createInsecure()
          : ServerCredentials.createSsl(null, [pair]);
      this.#server.bindAsync(`127.0.0.1:${port}`, to, (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    return this.port;
  }

  /** Breaks off everything. */
  stop(): void {
    this.#server.forceShutdown();
  }

  get last(): SeenCall {
    return this.calls.at(-1)!;
  }

  #see(call: Call): SeenCall {
    const deadline = call.getDeadline();
    const leftMs = Number(deadline) - Date.now();
    const { metadata } = call;
    const seen: SeenCall = {
      ...{ path: call.getPath(), metadata, leftMs, cancelled: false, asked: 0, replied: 0 },
    };
    this.calls.push(seen);
    (call as EventEmitter).on("cancelled", () => {
      seen.cancelled = true;
    });
    const initial = echoed(metadata, "x-echo");
    if (initial !== undefined) call.sendMetadata(initial);
    return seen;
  }

  #collect(call: ServerReadableStream<Required<Ask>, Reply>, done: sendUnaryData<Partial<Reply>>) {
    const seen = this.#see(call);
    const bodies: Buffer[] = [];
    let isOver = false;
    const end = (ask: Required<Ask>): void => {
      if (isOver) return;
      isOver = true;
      this.#end(call, seen, { ...ask, body: Buffer.concat(bodies) }, done);
    };
    call.on("data", (ask: Required<Ask>) => {
      seen.asked++;
      bodies.push(ask.body);
      if (ask.stays) {
        isOver = true;
        call.pause();
      }
      if (ask.code !== 0) end(ask);
    });
    call.on("error", () => {});
    call.on("end", () => end({ ...NOTHING, count: seen.asked }));
  }

  #chat(call: ServerDuplexStream<Required<Ask>, Partial<Reply>>): void {
    const seen = this.#see(call);
    let isOver = false;
    call.on("data", (ask: Required<Ask>) => {
      seen.asked++;
      if (ask.stays || ask.code !== 0) isOver = true;
      this.#reply(call, seen, ask, () => {});
    });
    call.on("error", () => {});
    call.on("end", () => {
      if (!isOver) call.end(lastOf(call.metadata));
    });
  }

  /** The one answer of a call. */
  #end(call: Call, seen: SeenCall, ask: Required<Ask>, done: sendUnaryData<Partial<Reply>>): void {
    if (ask.stays) return;
    const last = lastOf(call.metadata);
    if (ask.code !== 0) done({ code: ask.code, details: ask.words, metadata: last }, null);
    else done(null, this.#make(ask, seen), last);
    seen.replied++;
  }

  /** As many replies as were asked for, as quickly as they are taken; then what comes after them. */
  #reply(call: WritingCall, seen: SeenCall, ask: Required<Ask>, end: () => void): void {
    let left = ask.count;
    const go = (): void => {
      while (left > 0) {
        if (seen.cancelled) return;
        left--;
        const reply = this.#make(ask, seen);
        seen.replied++;
        if (call.write(reply)) continue;
        call.once("drain", go);
        return;
      }
      if (ask.code !== 0) {
        const status: Partial<StatusObject> = {
          ...{ code: ask.code, details: ask.words, metadata: lastOf(call.metadata) },
        };
        call.emit("error", status);
      } else if (!ask.stays) end();
    };
    go();
  }

  #make(ask: Required<Ask>, { asked, replied: nth }: SeenCall): Partial<Reply> {
    const body = ask.size === 0 ? ask.body : Buffer.concat([ask.body, Buffer.alloc(ask.size)]);
    return { body, by: this.name, asked, nth };
  }
}

const NOTHING: Required<Ask> = {
  ...{ body: Buffer.alloc(0), count: 0, size: 0, code: 0, words: "", stays: false },
};

function lastOf(metadata: Metadata): Metadata {
  return echoed(metadata, "x-last") ?? new Metadata();
}

function echoed(from: Metadata, prefix: string): Metadata | undefined {
  const into = new Metadata();
  let count = 0;
  for (const key of [prefix, `${prefix}-bin`]) {
    for (const value of from.get(key)) {
      into.add(key, value);
      count++;
    }
  }
  return count === 0 ? undefined : into;
}

/** What a call has come to. */
export interface Outcome {
  readonly replies: readonly Reply[];
  readonly initial: Metadata | undefined;
  readonly status: StatusObject;
}

type AnyCall = ClientUnaryCall &
  Partial<ClientWritableStream<Ask>> &
  Partial<Omit<ClientReadableStream<Reply>, keyof ClientUnaryCall>>;

/** A call that runs. */
export class RunningCall {
  readonly replies: Reply[] = [];
  readonly call: AnyCall;
  readonly outcome: Promise<Outcome>;

  constructor(call: AnyCall, reads: boolean) {
    this.call = call;
    let initial: Metadata | undefined;
    call.on("metadata", (metadata) => {
      initial = metadata;
    });
    call.on("error", () => {});
    if (reads) call.on("data", (reply: Reply) => this.replies.push(reply));
    this.outcome = new Promise((resolve) => {
      call.on("status", (status) => resolve({ replies: this.replies, initial, status }));
    });
  }

  say(ask: Ask): void {
    this.call.write!(ask);
  }

  end(): void {
    this.call.end!();
  }
}

/** Shapes of a call. */
export const SHAPES = ["Unary", "Collect", "Expand", "Chat"] as const;
export type Shape = (typeof SHAPES)[number];

/** The service, as a client sees it: each call may go another way, over the one connection of this client. */
export class EchoClient {
  readonly #client: InstanceType<ServiceClientConstructor>;

  /** @param authority of what it connects to. @param root PEM: TLS, and this is the server's certificate. */
  constructor(authority: string, root: string | undefined, options: ChannelOptions = {}) {
    const to =
      root === undefined ? credentials.createInsecure() : credentials.createSsl(Buffer.from(root));
    // A pool of its own: clients of one address would share their connection.
    this.#client = new Echo(authority, to, {
      ...{ ...UNBOUNDED, "grpc.use_local_subchannel_pool": 1 },
      ...options,
    });
  }

  /**
   * Begins a call; where there may be several messages more can be said, and it must be ended.
   */
  begin(
    shape: Shape,
    ask: Ask = {},
    about: { readonly metadata?: Metadata } & CallOptions = {},
  ): RunningCall {
    const { metadata = new Metadata(), ...options } = about;
    const running: { call?: RunningCall } = {};
    const whole = (_error: ServiceError | null, reply?: Reply): void => {
      if (reply !== undefined) running.call!.replies.push(reply);
    };
    const method = this.#client[shape]!.bind(this.#client) as (...args: unknown[]) => AnyCall;
    const args =
      shape === "Unary"
        ? [ask, metadata, options, whole]
        : shape === "Expand"
          ? [ask, metadata, options]
          : shape === "Collect"
            ? [metadata, options, whole]
            : [metadata, options];
    const call = new RunningCall(method(...args), shape === "Expand" || shape === "Chat");
    running.call = call;
    if (shape === "Collect" || shape === "Chat") call.say(ask);
    return call;
  }

  /** A whole call with these messages. */
  async call(
    shape: Shape,
    asks: readonly Ask[] = [{}],
    about: { readonly metadata?: Metadata } & CallOptions = {},
  ): Promise<Outcome> {
    const running = this.begin(shape, asks[0], about);
    for (const ask of asks.slice(1)) running.say(ask);
    if (shape === "Collect" || shape === "Chat") running.end();
    return running.outcome;
  }

  /** An empty call of any method. */
  callAt(path: string): Promise<StatusObject> {
    return new Promise((resolve) => {
      const asIs = (bytes: Buffer): Buffer => bytes;
      const call = this.#client.makeUnaryRequest(path, asIs, asIs, Buffer.alloc(0), () => {});
      call.on("status", resolve);
    });
  }

  close(): void {
    this.#client.close();
  }
}
