import { line, nanos } from "#bench/micro/nanos.ts";
import { TimerWheel } from "#kernel/timer_wheel.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import type { Exchange } from "#proxy/exchange/exchange.ts";
import { HttpDate } from "#proxy/exchange/http_date.ts";
import { CONNECTION_LIMITS } from "#proxy/exchange/limits.ts";
import { anonymous } from "#proxy/exchange/peer.ts";
import { Http2Downstream } from "#proxy/http2/downstream.ts";
import { FrameType, Setting } from "#proxy/http2/frames.ts";
import { Http2Counters } from "#proxy/http2/http2_counters.ts";
import { Http2Upstream } from "#proxy/http2/upstream.ts";
import { UpstreamCounters } from "#proxy/upstream/upstream_counters.ts";
import { FakeSocket } from "#test/kit/fake_socket.ts";
import { data, Speech } from "#test/kit/http2_ends.ts";
import { frame, word } from "#test/kit/http2_raw.ts";

/** Exchanges that one read brings. */
const BATCH = 8;
/** Windows that are never used up. */
const WIDE = 0x7fff_ffff;
/** Messages of a stream that one read brings. */
const MESSAGES = 64;
const MESSAGE = Buffer.alloc(69, "m");
const ID_AT = 5;

/** A socket that counts what it is given, and keeps nothing of it. */
class Drain extends FakeSocket {
  override write(bytes: string | Uint8Array): boolean {
    this.bytesWritten += bytes.length;
    return true;
  }
}

/** Frames whose stream ids are written anew each time. */
class Said {
  readonly bytes: Buffer;
  readonly #ids: readonly { readonly at: number; readonly nth: number }[];

  /** @param framesOf those of one stream. */
  constructor(framesOf: () => readonly Buffer[]) {
    const ids: { at: number; nth: number }[] = [];
    const all: Buffer[] = [];
    let at = 0;
    for (let nth = 0; nth < BATCH; nth++) {
      for (const one of framesOf()) {
        ids.push({ at: at + ID_AT, nth });
        all.push(one);
        at += one.length;
      }
    }
    this.#ids = ids;
    this.bytes = Buffer.concat(all);
  }

  /** @param first id of the first stream. */
  from(first: number): Buffer {
    for (const { at, nth } of this.#ids) this.bytes.writeUInt32BE(first + 2 * nth, at);
    return this.bytes;
  }
}

/**
 * Unary gRPC calls through both ends of the engine, without sockets, routes or a balancer: what a call costs beyond
 * the kernel and the decisions.
 */
export function engineLines(): string[] {
  const call = new Call();
  for (let i = 0; i < 4; i++) call.turn();
  call.settle();
  const each = nanos((i) => {
    if (i % BATCH === 0) call.turn();
  });
  call.check();
  const stream = new Call();
  stream.openStream();
  const message = nanos((i) => {
    if (i % MESSAGES === 0) stream.sayMessages();
  });
  stream.checkStream();
  return [
    line("a unary gRPC call through both ends", each),
    line(`one of ${MESSAGES} messages of a stream in a read`, message),
  ];
}

const GRPC = [
  ["content-type", "application/grpc"],
  ["te", "trailers"],
] as const;
const STATUS = [["grpc-status", "0"]] as const;

/** Both ends, the one's requests being the other's. */
class Call {
  readonly #clock = new VirtualClock();
  readonly #wheel = new TimerWheel(this.#clock);
  readonly #client = new Drain();
  readonly #endpoint = new Drain();
  readonly #clientSpeech = new Speech();
  readonly #endpointSpeech = new Speech();
  readonly #upstream = this.#newUpstream();
  #said: { readonly question: Said; readonly answer: Said } | undefined = undefined;
  #first = 1;
  #answered = 0;
  #streamed = 0;
  readonly #messages = Buffer.concat(Array.from({ length: MESSAGES }, () => data(1, MESSAGE)));

  constructor() {
    this.#openDownstream();
    const open = frame(FrameType.WINDOW_UPDATE, 0, 0, word(WIDE - 65_535));
    const settings = [Setting.INITIAL_WINDOW_SIZE, WIDE];
    this.#client.say(Buffer.concat([Speech.hello(settings), open]));
    this.#endpoint.emit("connect");
    this.#endpoint.say(Buffer.concat([Speech.settings(settings), open]));
  }

  /** A batch of calls, from question to answer. */
  turn(): void {
    const { question, answer } = this.#said ?? this.#say();
    this.#client.say(question.from(this.#first));
    this.#endpoint.say(answer.from(this.#first));
    this.#first += 2 * BATCH;
  }

  /** The tables are full: all header blocks are the same from now on. */
  settle(): void {
    this.#said = this.#say();
  }

  check(): void {
    const asked = (this.#first - 1) / 2;
    if (this.#answered !== asked || this.#client.bytesWritten < asked * MESSAGE.length) {
      throw new Error(`${this.#answered} of ${asked} calls are answered`);
    }
  }

  /** A call whose answer goes on for ever. */
  openStream(): void {
    this.#client.say(this.#clientSpeech.ask(1, GRPC, "POST", false));
    this.#client.say(data(1, MESSAGE, true));
    this.#endpoint.say(this.#endpointSpeech.answer(1, "200", false, GRPC.slice(0, 1)));
  }

  sayMessages(): void {
    this.#endpoint.say(this.#messages);
    this.#streamed += this.#messages.length;
  }

  checkStream(): void {
    const { bytesWritten } = this.#client;
    if (bytesWritten < this.#streamed) throw new Error(`${bytesWritten} of ${this.#streamed}`);
  }

  #say(): { question: Said; answer: Said } {
    const [asks, says] = [this.#clientSpeech, this.#endpointSpeech];
    const question = new Said(() => [asks.ask(1, GRPC, "POST", false), data(1, MESSAGE, true)]);
    const answer = new Said(() => [
      says.answer(1, "200", false, GRPC.slice(0, 1)),
      data(1, MESSAGE),
      frame(FrameType.HEADERS, 0x5, 1, says.block(STATUS)),
    ]);
    return { question, answer };
  }

  #openDownstream(): void {
    const options = {
      ...{ listener: "http", secure: false, self: "core", counters: new Http2Counters() },
      ...{ clock: this.#clock, wheel: this.#wheel, date: new HttpDate(this.#clock) },
      limits: CONNECTION_LIMITS,
      policy: { streamIdleMs: 60_000, forwarded: false, accessLogShare: undefined },
      handler: { onRequest: (exchange: Exchange) => this.#pass(exchange) },
      onRefused: ({ kind }: { readonly kind: string }) => {
        throw new Error(kind);
      },
      onClosed: () => {},
    };
    const admitted = { peer: anonymous("192.0.2.1", 1), servedHosts: undefined };
    new Http2Downstream(this.#client.socket, admitted, options, false);
  }

  #newUpstream(): Http2Upstream {
    return new Http2Upstream({
      ...{ clock: this.#clock, wheel: this.#wheel, limits: CONNECTION_LIMITS },
      ...{ counters: new Http2Counters(), trust: 1, heldBytesMax: 1_000_000 },
      endpoint: { address: "192.0.2.1", port: 80, weight: 1 },
      dial: (onread) => {
        this.#endpoint.onread = onread;
        return this.#endpoint.socket;
      },
      readyEvent: "connect",
      owner: { onRoom: () => {}, onClosing: () => {}, onClosed: () => {}, idleTimeoutMs: 60_000 },
      connectTimeoutMs: 1_000,
      upstreamCounters: new UpstreamCounters(),
    });
  }

  #pass(exchange: Exchange): void {
    const asked = this.#upstream.begin(exchange.head, {
      onInterim: () => {},
      onAnswer: (head) => exchange.answer(head),
      onAnswerBody: (chunk) => exchange.answerBody(chunk),
      onAnswerEnd: (trailers) => {
        exchange.answerEnd(trailers);
        this.#answered++;
      },
      onRequestDrain: () => exchange.resumeBody(),
      onFailure: ({ kind, detail }) => {
        throw new Error(`${kind}: ${detail}`);
      },
    });
    exchange.observer = { onClientGone: () => {}, onAnswerDrain: () => asked.resume() };
    exchange.readBody({
      onBody: (chunk) => asked.sendBody(chunk),
      onBodyEnd: (trailers) => asked.sendEnd(trailers),
    });
  }
}
