import { TimerWheel } from "#kernel/timer_wheel.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import type { AnswerHead, AnswerSink, Exchange, RequestHead } from "#proxy/exchange/exchange.ts";
import { HttpDate } from "#proxy/exchange/http_date.ts";
import { CONNECTION_LIMITS, type ConnectionLimits } from "#proxy/exchange/limits.ts";
import { anonymous } from "#proxy/exchange/peer.ts";
import { Http2Downstream } from "#proxy/http2/downstream.ts";
import { FrameType, PREFACE, uint32, writeSettings } from "#proxy/http2/frames.ts";
import { HpackEncoder } from "#proxy/http2/hpack_encoder.ts";
import { Http2Counters } from "#proxy/http2/http2_counters.ts";
import { Http2Upstream } from "#proxy/http2/upstream.ts";
import { UpstreamCounters } from "#proxy/upstream/upstream_counters.ts";
import { FakeSocket } from "#test/kit/fake_socket.ts";
import { frame, type HeardFrame, takeFrames } from "#test/kit/http2_raw.ts";

/*
 * The two ends of the HTTP/2 engine over fake sockets and virtual time: what is said to them, as frames, and what
 * they make of it. Pieces of a body are joined: where they are cut means nothing.
 */

/** Lets everything that was written in this turn leave. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

type Field = readonly [string, string];

/** What a peer says: frames as bytes, with one HPACK encoder for all of them. */
export class Speech {
  readonly #encoder = new HpackEncoder();

  /** The preface and first settings. */
  static hello(settings: readonly number[] = []): Buffer {
    return Buffer.concat([PREFACE, Speech.settings(settings)]);
  }

  static settings(settings: readonly number[] = []): Buffer {
    const bytes = Buffer.alloc(256);
    return bytes.subarray(0, writeSettings(bytes, 0, settings));
  }

  block(fields: readonly Field[]): Buffer {
    const buffer = Buffer.alloc(200_000);
    this.#encoder.begin(buffer, 0, 190_000);
    for (const [name, value] of fields) this.#encoder.put(name, value, false);
    return buffer.subarray(0, this.#encoder.end());
  }

  /** A request without a body, or one whose body follows. */
  ask(id: number, more: readonly Field[] = [], method = "GET", ends = method === "GET"): Buffer {
    const block = this.block([...headOf(method), ...more]);
    return frame(FrameType.HEADERS, ends ? 0x5 : 0x4, id, block);
  }

  /** The head of an answer. */
  answer(id: number, status: string, ends: boolean, more: readonly Field[] = []): Buffer {
    const block = this.block([[":status", status], ...more]);
    return frame(FrameType.HEADERS, ends ? 0x5 : 0x4, id, block);
  }
}

/** The pseudo-fields of a request for `/`. */
export const headOf = (method: string): readonly Field[] => [
  [":method", method],
  [":scheme", "http"],
  [":authority", "a"],
  [":path", "/"],
];

/** DATA. */
export const data = (id: number, content: string | Buffer, ends = false): Buffer =>
  frame(FrameType.DATA, ends ? 1 : 0, id, Buffer.from(content as string, "latin1"));

/** A request that has come, and what is known of it. */
export interface Asked {
  readonly exchange: Exchange;
  body: string;
  ended: boolean;
  trailers: readonly string[] | undefined;
  /** Why its client is gone. */
  gone: string;
  /** Times that the answer may go on. */
  drains: number;
}

/** A client's connection, and what its handler has heard. */
export class ServerEnd {
  readonly clock = new VirtualClock();
  readonly wheel = new TimerWheel(this.clock);
  readonly socket = new FakeSocket();
  readonly speech = new Speech();
  readonly counters = new Http2Counters();
  readonly asked: Asked[] = [];
  readonly refused: string[] = [];
  closed = 0;
  readonly connection: Http2Downstream;

  /** @param onAsked the handler: by default it reads the body, and the test answers. */
  constructor(
    limits: Partial<ConnectionLimits> = {},
    onAsked: (asked: Asked) => void = (asked) => readAll(asked),
  ) {
    const options = {
      ...{ listener: "http", secure: false, self: "core", counters: this.counters },
      ...{ clock: this.clock, wheel: this.wheel, date: new HttpDate(this.clock) },
      limits: { ...CONNECTION_LIMITS, ...limits },
      policy: { streamIdleMs: 60_000, forwarded: false, accessLogShare: undefined },
      handler: {
        onRequest: (exchange: Exchange) => {
          const asked: Asked = {
            ...{ exchange, body: "", ended: false, trailers: undefined, gone: "", drains: 0 },
          };
          exchange.observer = {
            onClientGone: ({ kind }) => {
              asked.gone = kind;
            },
            onAnswerDrain: () => {
              asked.drains++;
            },
          };
          this.asked.push(asked);
          onAsked(asked);
        },
      },
      onRefused: ({ kind }: { readonly kind: string }) => void this.refused.push(kind),
      onClosed: () => {
        this.closed++;
      },
    };
    const admitted = { peer: anonymous("192.0.2.1", 1), servedHosts: undefined };
    this.connection = new Http2Downstream(this.socket.socket, admitted, options, false);
  }

  say(...frames: readonly Buffer[]): void {
    this.socket.say(Buffer.concat(frames));
  }

  get heard(): HeardFrame[] {
    const frames: HeardFrame[] = [];
    takeFrames(Buffer.from(this.socket.written, "latin1"), frames);
    return frames;
  }

  of(type: number, stream: number): HeardFrame[] {
    return this.heard.filter((one) => one.type === type && one.stream === stream);
  }

  /** All that came of an answer's body. */
  bodyOf(stream: number): string {
    return this.of(FrameType.DATA, stream)
      .map(({ payload }) => payload.latin1Slice())
      .join("");
  }

  /** With what code a stream was reset; undefined: it was not. */
  resetOf(stream: number): number | undefined {
    const [first] = this.of(FrameType.RST_STREAM, stream);
    return first === undefined ? undefined : uint32(first.payload, 0);
  }

  /** With what code the connection has ended. */
  get goaway(): number | undefined {
    const last = this.of(FrameType.GOAWAY, 0).at(-1);
    return last === undefined ? undefined : uint32(last.payload, 4);
  }
}

/** Reads the body to its end. */
export function readAll(asked: Asked, onEnd: () => void = () => {}): void {
  asked.exchange.readBody({
    onBody: (chunk) => {
      asked.body += chunk.latin1Slice();
      return true;
    },
    onBodyEnd: (trailers) => {
      asked.ended = true;
      asked.trailers = trailers;
      onEnd();
    },
  });
}

/** The head of an answer whose length nobody knows. */
export function ok(change: Partial<AnswerHead> = {}): AnswerHead {
  return { status: 200, reason: "", fields: [], body: -1, upgrade: undefined, ...change };
}

/** A connection to an endpoint, that has said hello or says it later. */
export class ClientEnd {
  readonly clock = new VirtualClock();
  readonly socket = new FakeSocket();
  readonly speech = new Speech();
  readonly events: string[] = [];
  /** The client takes pieces. */
  takes = true;
  readonly connection: Http2Upstream;

  constructor(hasSpoken = true) {
    this.connection = new Http2Upstream({
      ...{ clock: this.clock, wheel: new TimerWheel(this.clock), limits: CONNECTION_LIMITS },
      ...{ counters: new Http2Counters(), trust: 1, heldBytesMax: 1_000_000 },
      endpoint: { address: "192.0.2.1", port: 80, weight: 1 },
      dial: (onread) => {
        this.socket.onread = onread;
        return this.socket.socket;
      },
      readyEvent: "connect",
      owner: { onRoom: () => {}, onClosing: () => {}, onClosed: () => {}, idleTimeoutMs: 60_000 },
      connectTimeoutMs: 1_000,
      upstreamCounters: new UpstreamCounters(),
    });
    this.socket.emit("connect");
    if (hasSpoken) this.say(Speech.settings());
  }

  say(...frames: readonly Buffer[]): void {
    this.socket.say(Buffer.concat(frames));
  }

  begin(change: Partial<RequestHead> = {}) {
    const plain = { method: "GET", target: "/", authority: "a", fields: [], body: 0 };
    const head = { ...plain, upgrade: undefined, takesTrailers: false, ...change };
    const sink: AnswerSink = {
      onInterim: (status) => void this.events.push(`interim ${status}`),
      onAnswer: ({ status }) => void this.events.push(`answer ${status}`),
      onAnswerBody: (chunk) => {
        this.events.push(chunk.latin1Slice());
        return this.takes;
      },
      onAnswerEnd: () => void this.events.push("end"),
      onRequestDrain: () => void this.events.push("drain"),
      onFailure: ({ kind }) => void this.events.push(`failure ${kind}`),
    };
    return this.connection.begin(head, sink);
  }
}
