import type { Socket } from "node:net";
import type { Millis } from "#kernel/brand.ts";
import { type TimerWheel, WheelItem } from "#kernel/timer_wheel.ts";
import type { Endpoint } from "#model/snapshot.ts";
import {
  type AnswerSink,
  BODY_UNKNOWN,
  type Stage,
  TCP_UPGRADE,
  type UpstreamStream,
} from "#proxy/exchange/exchange.ts";
import { failure, isOwnLimit } from "#proxy/exchange/failure.ts";
import { WriteQueue } from "#proxy/http1/write_queue.ts";
import { proxyHeader } from "#proxy/listen/proxy_protocol.ts";
import { isHeld, READ_BYTES, replaceHeld } from "#proxy/socket/held_buffers.ts";
import { reset } from "#proxy/socket/reset.ts";
import { beginWork, endWork } from "#proxy/socket/work.ts";
import { AnswerFirstSocket } from "#proxy/upstream/answer_first_socket.ts";
import type { CloseReason, UpstreamCounters } from "#proxy/upstream/upstream_counters.ts";
import type { Introduction, RawUpstreams } from "#proxy/upstream/upstreams.ts";

/** How long a client may still send to an endpoint that has said all and takes nothing more. */
const DEAF_MS: Millis = 30_000;

export interface TcpUpstreamsOptions {
  readonly wheel: TimerWheel;
  readonly counters: UpstreamCounters;
  readonly connectTimeoutMs: (endpoint: Endpoint) => Millis;
}

/** Connections to endpoints of `tcp` services: one for each client's. */
export class TcpUpstreams implements RawUpstreams {
  readonly #options: TcpUpstreamsOptions;

  constructor(options: TcpUpstreamsOptions) {
    this.#options = options;
  }

  open(
    endpoint: Endpoint,
    introduction: Introduction | undefined,
    sink: AnswerSink,
  ): UpstreamStream {
    const { wheel, counters } = this.#options;
    const connectTimeoutMs = this.#options.connectTimeoutMs(endpoint);
    return new TcpUpstream(endpoint, sink, { wheel, counters, connectTimeoutMs, introduction });
  }
}

/** A connection to an endpoint that takes bytes as they are. Once connected it has switched. */
class TcpUpstream extends WheelItem implements UpstreamStream {
  readonly #socket: Socket;
  readonly #out: WriteQueue;
  /** Pages of it that nothing reaches are never touched. */
  #buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  readonly #wheel: TimerWheel;
  readonly #counters: UpstreamCounters;
  readonly #connectTimeoutMs: Millis;
  #sink: AnswerSink | undefined;
  #connected = false;
  #sent = false;
  #ended = false;
  /** It has ended its side and then refused what came: that is dropped, or a reset would cost the client the answer. */
  #deaf = false;
  #closed = false;

  constructor(
    endpoint: Endpoint,
    sink: AnswerSink,
    options: {
      readonly wheel: TimerWheel;
      readonly counters: UpstreamCounters;
      readonly connectTimeoutMs: Millis;
      readonly introduction: Introduction | undefined;
    },
  ) {
    super();
    const { address: host, port } = endpoint;
    this.#sink = sink;
    this.#wheel = options.wheel;
    this.#counters = options.counters;
    this.#connectTimeoutMs = options.connectTimeoutMs;
    const target = { host, port, noDelay: true, allowHalfOpen: true };
    // After a failed write a socket reads on only into buffers that it was given.
    const onread = {
      buffer: () => this.#freshBuffer(),
      callback: (bytes: number) => this.#onRead(bytes),
    };
    const socket = new AnswerFirstSocket({ ...target, onread }).connect(target);
    this.#socket = socket;
    this.#out = new WriteQueue(socket);
    socket.on("connect", () => this.#onConnect(options.introduction));
    socket.on("end", () => this.#onEnd());
    socket.on("drain", () => {
      this.#out.drained();
      this.#sink?.onRequestDrain();
    });
    socket.on("error", (error: NodeJS.ErrnoException) => this.#lost(error.code ?? error.message));
    socket.on("close", () => this.#lost("closed"));
    options.wheel.arm(this, options.connectTimeoutMs);
  }

  get stage(): Stage {
    return this.#connected ? "begun" : "connects";
  }

  sendBody(chunk: Buffer): boolean {
    return this.#deaf || this.#out.body(chunk, false);
  }

  sendEnd(): void {
    this.#sent = true;
    if (!this.#deaf) {
      this.#out.flush();
      this.#socket.end();
    }
    if (this.#ended) this.#close("tunnel");
  }

  resume(): void {
    this.#socket.resume();
  }

  cancel(): void {
    if (this.#sink === undefined) return;
    this.#sink = undefined;
    reset(this.#socket);
    this.#close("cancelled");
  }

  override onTimeout(): void {
    if (!this.#connected) this.#fail("connect_timeout", `${this.#connectTimeoutMs} ms`);
    else if (this.#deaf) this.#fail("answer_truncated", "takes nothing more");
  }

  #onConnect(introduction: Introduction | undefined): void {
    this.#connected = true;
    this.#counters.opened++;
    this.#wheel.disarm(this);
    if (introduction !== undefined) {
      const { remoteAddress: address = "", remotePort: port = 0 } = this.#socket;
      this.#socket.write(proxyHeader(introduction.version, introduction.source, { address, port }));
    }
    const upgrade = TCP_UPGRADE;
    this.#sink?.onAnswer({ status: 101, reason: "", fields: [], body: BODY_UNKNOWN, upgrade });
  }

  /** After each read: another buffer if somebody still needs what is in this one. */
  #freshBuffer(): Uint8Array {
    if (isHeld(this.#buffer)) this.#buffer = replaceHeld(this.#buffer);
    return this.#buffer;
  }

  /** False: reading is to stop. */
  #onRead(bytes: number): boolean {
    beginWork();
    try {
      if (this.#sink?.onAnswerBody(this.#buffer.subarray(0, bytes)) !== false) return true;
      this.#socket.pause();
      return false;
    } finally {
      endWork();
    }
  }

  #onEnd(): void {
    this.#ended = true;
    const sink = this.#sink;
    if (this.#sent) this.#close("tunnel");
    sink?.onAnswerEnd(undefined);
  }

  #lost(detail: string): void {
    if (!this.#connected) this.#fail("connect_refused", detail);
    // So the kernel calls it if the endpoint had ended its side before it refused what came; all is read by now.
    else if (!this.#ended && detail === "EPIPE" && !this.#closed) {
      this.#onEnd();
      this.#goDeaf();
    } else if (this.#ended && !this.#closed) this.#goDeaf();
    else this.#fail("answer_truncated", detail);
  }

  #goDeaf(): void {
    if (this.#deaf || this.#closed) return;
    this.#deaf = true;
    this.#wheel.arm(this, DEAF_MS);
    this.#sink?.onRequestDrain();
  }

  #fail(kind: "connect_timeout" | "connect_refused" | "answer_truncated", detail: string): void {
    if (this.#closed) return;
    const sink = this.#sink;
    if (kind !== "answer_truncated") this.#counters.connectFailures[kind]++;
    this.#close("error");
    sink?.onFailure(failure(isOwnLimit(detail) && !this.#connected ? "overloaded" : kind, detail));
  }

  #close(why: CloseReason): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#connected) this.#counters.closed[why]++;
    this.#sink = undefined;
    this.#wheel.disarm(this);
    this.#socket.destroy();
  }
}
