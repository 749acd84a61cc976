import { connect, type Socket } from "node:net";
import type { Millis } from "#kernel/brand.ts";
import { type TimerWheel, WheelItem } from "#kernel/timer_wheel.ts";
import type { Endpoint } from "#model/snapshot.ts";
import {
  type AnswerSink,
  BODY_UNKNOWN,
  TCP_UPGRADE,
  type UpstreamStream,
} from "#proxy/exchange/exchange.ts";
import { failure } from "#proxy/exchange/failure.ts";
import { reset } from "#proxy/http1/reset.ts";
import { WriteQueue } from "#proxy/http1/write_queue.ts";
import { proxyHeader } from "#proxy/listen/proxy_protocol.ts";
import type { Introduction, RawUpstreams } from "#proxy/upstream/upstreams.ts";

const CONNECT_TIMEOUT_MS: Millis = 1_000;

/** Connections to endpoints of `tcp` services: one for each client's. */
export class TcpUpstreams implements RawUpstreams {
  readonly #wheel: TimerWheel;

  constructor(wheel: TimerWheel) {
    this.#wheel = wheel;
  }

  open(
    endpoint: Endpoint,
    introduction: Introduction | undefined,
    sink: AnswerSink,
  ): UpstreamStream {
    const options = { wheel: this.#wheel, connectTimeoutMs: CONNECT_TIMEOUT_MS, introduction };
    return new TcpUpstream(endpoint, sink, options);
  }
}

/** A connection to an endpoint that takes bytes as they are. Once connected it has switched. */
class TcpUpstream extends WheelItem implements UpstreamStream {
  readonly #socket: Socket;
  readonly #out: WriteQueue;
  readonly #wheel: TimerWheel;
  readonly #connectTimeoutMs: Millis;
  #sink: AnswerSink | undefined;
  #connected = false;
  #sent = false;
  #ended = false;

  constructor(
    endpoint: Endpoint,
    sink: AnswerSink,
    options: {
      readonly wheel: TimerWheel;
      readonly connectTimeoutMs: Millis;
      readonly introduction: Introduction | undefined;
    },
  ) {
    super();
    const { address: host, port } = endpoint;
    this.#sink = sink;
    this.#wheel = options.wheel;
    this.#connectTimeoutMs = options.connectTimeoutMs;
    const socket = connect({ host, port, noDelay: true, allowHalfOpen: true });
    this.#socket = socket;
    this.#out = new WriteQueue(socket);
    socket.on("connect", () => this.#onConnect(options.introduction));
    socket.on("data", (chunk: Buffer) => {
      if (this.#sink?.onAnswerBody(chunk) === false) socket.pause();
    });
    socket.on("end", () => this.#onEnd());
    socket.on("drain", () => this.#sink?.onRequestDrain());
    socket.on("error", (error: NodeJS.ErrnoException) => this.#lost(error.code ?? error.message));
    socket.on("close", () => this.#lost("closed"));
    options.wheel.arm(this, options.connectTimeoutMs);
  }

  sendBody(chunk: Buffer): boolean {
    return this.#out.body(chunk, false);
  }

  sendEnd(): void {
    this.#sent = true;
    this.#out.flush();
    this.#socket.end();
    if (this.#ended) this.#close();
  }

  resume(): void {
    this.#socket.resume();
  }

  cancel(): void {
    if (this.#sink === undefined) return;
    this.#sink = undefined;
    reset(this.#socket);
    this.#close();
  }

  override onTimeout(): void {
    if (this.#connected) return;
    const sink = this.#sink;
    this.#close();
    sink?.onFailure(failure("connect_timeout", `${this.#connectTimeoutMs} ms`));
  }

  #onConnect(introduction: Introduction | undefined): void {
    this.#connected = true;
    this.#wheel.disarm(this);
    if (introduction !== undefined) {
      const { remoteAddress: address = "", remotePort: port = 0 } = this.#socket;
      this.#socket.write(proxyHeader(introduction.version, introduction.source, { address, port }));
    }
    const upgrade = TCP_UPGRADE;
    this.#sink?.onAnswer({ status: 101, reason: "", fields: [], body: BODY_UNKNOWN, upgrade });
  }

  #onEnd(): void {
    this.#ended = true;
    const sink = this.#sink;
    if (this.#sent) this.#close();
    sink?.onAnswerEnd(undefined);
  }

  #lost(detail: string): void {
    const sink = this.#sink;
    this.#close();
    const kind = this.#connected ? "answer_truncated" : "connect_refused";
    sink?.onFailure(failure(kind, detail));
  }

  #close(): void {
    this.#sink = undefined;
    this.#wheel.disarm(this);
    this.#socket.destroy();
  }
}
