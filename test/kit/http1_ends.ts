import { TimerWheel } from "#kernel/timer_wheel.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import type {
  AnswerHead,
  AnswerSink,
  Exchange,
  ExchangeObserver,
  Fields,
  RequestHead,
  UpstreamStream,
} from "#proxy/exchange/exchange.ts";
import type { Failure } from "#proxy/exchange/failure.ts";
import { HttpDate } from "#proxy/exchange/http_date.ts";
import { CONNECTION_LIMITS } from "#proxy/exchange/limits.ts";
import { anonymous } from "#proxy/exchange/peer.ts";
import { DownstreamConnection } from "#proxy/http1/downstream.ts";
import { UpstreamConnection } from "#proxy/http1/upstream.ts";
import { UpstreamCounters } from "#proxy/upstream/upstream_counters.ts";
import { FakeSocket } from "#test/kit/fake_socket.ts";

/*
 * The two ends of the HTTP/1 codec over fake sockets: what is said to them, as bytes, and what they make
 * of it, as a list of events. Pieces of a body are joined: where they are cut means nothing.
 */

// One for all: nothing here waits for time to pass.
const clock = new VirtualClock();
const wheel = new TimerWheel(clock);

/** Lets everything that was written in this turn leave. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A request as the relay would pass it on. */
export function request(change: Partial<RequestHead>): RequestHead {
  const head = { method: "GET", target: "/", authority: "a", fields: [], body: 0 };
  return { ...head, upgrade: undefined, takesTrailers: false, ...change };
}

/** An upstream connection that has been asked something, and what its sink has heard. */
export interface UpstreamEnd {
  readonly socket: FakeSocket;
  readonly stream: UpstreamStream;
  readonly events: string[];
  readonly body: string;
  /** Times that it was given back as idle. */
  readonly idle: number;
  /** Puts bytes where the socket reads into. */
  intoBuffer(text: string): [number, Uint8Array];
}

/** @param options.slow the client takes one piece, then none until `resume`. */
export function openUpstream(
  asked: RequestHead,
  options: { readonly slow?: boolean } = {},
): UpstreamEnd {
  const socket = new FakeSocket();
  const end = { events: [] as string[], body: "", idle: 0 };
  const sink: AnswerSink = {
    onInterim: (status, fields) => void end.events.push(`interim ${status} ${fields.join("|")}`),
    onAnswer: (head) => void end.events.push(`answer ${textOf(head)}`),
    onAnswerBody: (chunk) => {
      end.body += chunk.latin1Slice();
      return options.slow !== true;
    },
    onAnswerEnd: (trailers) => {
      if (trailers !== undefined) end.events.push(`trailers ${trailers.join("|")}`);
      end.events.push("end");
    },
    onRequestDrain: () => {},
    onFailure: ({ kind }) => void end.events.push(`failure ${kind}`),
  };
  const stream = newUpstream(socket, asked, sink, () => end.idle++);
  return Object.assign(end, {
    socket,
    stream,
    intoBuffer: (text: string): [number, Uint8Array] => {
      const into = socket.onread!.buffer();
      into.set(Buffer.from(text, "latin1"));
      return [text.length, into];
    },
  });
}

/** Asks an endpoint at the other end of `socket`. */
export function newUpstream(
  socket: FakeSocket,
  asked: RequestHead,
  sink: AnswerSink,
  onIdle: () => void = () => {},
): UpstreamStream {
  const connection = new UpstreamConnection({
    dial: (onread) => {
      socket.onread = onread;
      return socket.socket;
    },
    readyEvent: "connect",
    owner: { onIdle, onStale: () => {}, onClosed: () => {}, idleTimeoutMs: 1_000 },
    counters: new UpstreamCounters(),
    wheel,
    limits: CONNECTION_LIMITS,
    connectTimeoutMs: 1_000,
  });
  connection.begin(asked, sink);
  socket.emit("connect");
  return connection;
}

function textOf(head: AnswerHead): string {
  const { status, reason, body, upgrade, fields } = head;
  return `${status} ${reason} ${body} ${upgrade} ${fields.join("|")}`;
}

/** A client's connection, and what its handler has heard. */
export interface DownstreamEnd {
  readonly socket: FakeSocket;
  readonly events: string[];
  /** Requests that were not passed on. */
  readonly refused: string[];
}

/** Answers what the client asks; at once or a turn later. */
export type Answerer = (exchange: Exchange, body: string, trailers: Fields | undefined) => void;

/** Reads each request whole, then has it answered. */
export function openDownstream(answer: Answerer): DownstreamEnd {
  const socket = new FakeSocket();
  const end: DownstreamEnd = { socket, events: [], refused: [] };
  newDownstream(socket, (exchange) => takeRequest(end, exchange, answer), end.refused);
  return end;
}

/** Serves a client at the other end of `socket`. */
export function newDownstream(
  socket: FakeSocket,
  onRequest: (exchange: Exchange) => void,
  refused: string[],
): void {
  new DownstreamConnection(
    socket.socket,
    { peer: anonymous("client"), servedHosts: undefined },
    {
      secure: false,
      recycles: false,
      date: new HttpDate(clock),
      listener: "http",
      handler: { onRequest },
      wheel,
      limits: CONNECTION_LIMITS,
      policy: { streamIdleMs: 300_000, forwarded: false, accessLogShare: undefined },
      self: "core.acme.mesh",
      onRefused: ({ kind }: Failure) => void refused.push(kind),
      onClosed: () => {},
      onPreface: () => {
        const nth = refused.push("handed over: ") - 1;
        return {
          passesOn: false,
          onChunk: (chunk) => {
            refused[nth] += chunk.latin1Slice();
          },
          letGo: () => {},
        };
      },
    },
  );
}

function takeRequest(end: DownstreamEnd, exchange: Exchange, answer: Answerer): void {
  const { method, target, authority, fields, body, upgrade } = exchange.head;
  const says = [method, target, authority, body, upgrade, fields.join("|")];
  end.events.push(`request ${says.join(" ")}`);
  let read = "";
  const observer: ExchangeObserver = {
    onClientGone: ({ kind }) => void end.events.push(`gone ${kind} after ${JSON.stringify(read)}`),
    onAnswerDrain: () => {},
  };
  exchange.observer = observer;
  if (body === 0) {
    answer(exchange, "", undefined);
    return;
  }
  exchange.readBody({
    onBody: (chunk) => {
      read += chunk.latin1Slice();
      return true;
    },
    onBodyEnd: (trailers) => {
      end.events.push(`body ${JSON.stringify(read)} ${trailers?.join("|")}`);
      answer(exchange, read, trailers);
    },
  });
}
