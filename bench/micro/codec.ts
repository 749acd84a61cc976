import { line, nanos } from "#bench/micro/nanos.ts";
import { systemClock } from "#kernel/clock.ts";
import { seededRng } from "#kernel/rng.ts";
import { Timeout, TimerWheel } from "#kernel/timer_wheel.ts";
import { setForwarding } from "#proxy/authorize/forwarding.ts";
import { BODY_UNKNOWN, type Exchange, type RequestHead } from "#proxy/exchange/exchange.ts";
import { CONNECTION_LIMITS } from "#proxy/exchange/limits.ts";
import { anonymous } from "#proxy/exchange/peer.ts";
import { HeadMemo } from "#proxy/http1/head_memo.ts";
import { BodyDecoder } from "#proxy/http1/parser_body.ts";
import { isFailure, parseAnswer, parseRequest, requestOf } from "#proxy/http1/parser_head.ts";
import { answerText, requestText } from "#proxy/http1/serializer.ts";
import { proxyHeader, readProxyHeader } from "#proxy/listen/proxy_protocol.ts";
import { TraceIds } from "#proxy/observe/trace_ids.ts";
import { latin1 } from "#proxy/socket/latin1.ts";

const REQUEST =
  "GET /menu/today?table=4 HTTP/1.1\r\nHost: shop.example.org\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, deflate, br\r\nCookie: session=0123456789abcdef0123456789abcdef\r\nConnection: keep-alive";
const ANSWER =
  "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Wed, 25 Nov 2026 03:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: 12\r\nConnection: keep-alive";

function must<T extends object>(parsed: T): Exclude<T, { kind: string }> {
  if (isFailure(parsed as never)) throw new Error(JSON.stringify(parsed));
  return parsed as Exclude<T, { kind: string }>;
}

/** Reading and writing HTTP/1.1, from bytes to values and from values to text. */
export function codecLines(): string[] {
  const request = Buffer.from(`${REQUEST}\r\n\r\n`, "latin1");
  const answer = Buffer.from(ANSWER, "latin1");
  const memo = new HeadMemo();
  const head = must(parseRequest(REQUEST, CONNECTION_LIMITS, memo.begin())).head;
  memo.keep(request, REQUEST.indexOf("\r"), request.length);
  const answerHead = must(parseAnswer(ANSWER, "GET", CONNECTION_LIMITS)).head;
  const chunks = Buffer.from(`${`3e8\r\n${"x".repeat(1_000)}\r\n`.repeat(16)}0\r\n\r\n`, "latin1");
  const decoder = new BodyDecoder();
  return [
    line(
      "read a request's head of 6 fields",
      nanos(() => parseRequest(latin1(request, 0, request.length - 4), CONNECTION_LIMITS)),
    ),
    line(
      "… its fields as in the one before",
      nanos(() => {
        memo.endOf(request, 0);
        const start = latin1(request, 0, memo.lineEnd);
        must(requestOf(start, start.length, memo.parsed, CONNECTION_LIMITS)).head.fields =
          memo.parsed.fields.slice();
      }),
    ),
    line(
      "write it",
      nanos(() => requestText(head).charCodeAt(400)),
    ),
    line(
      "read an answer's head of 5 fields",
      nanos(() => parseAnswer(latin1(answer, 0, answer.length), "GET", CONNECTION_LIMITS)),
    ),
    line(
      "write it",
      nanos(() => answerText(answerHead, "length", "").charCodeAt(100)),
    ),
    line(
      "read a chunk of 1 kB",
      nanos(() => {
        decoder.begin(BODY_UNKNOWN);
        decoder.at = 0;
        while (decoder.step(chunks) === "data");
      }) / 16,
    ),
    ...edgeLines(head),
  ];
}

/** What stands beside the codec on every connection or request. */
function edgeLines(head: RequestHead): string[] {
  const ids = new TraceIds(seededRng(1));
  const exchange = {
    head,
    peer: anonymous("10.0.0.2", 5_000),
    secure: false,
    policy: { streamIdleMs: 1, forwarded: false, accessLogShare: undefined },
  } as unknown as Exchange;
  const count = head.fields.length;
  const source = { address: "10.0.0.2", port: 5_000 };
  const introduction = proxyHeader("v2", source, { address: "10.0.0.1", port: 80 });
  const wheel = new TimerWheel(systemClock);
  const timeout = new Timeout(() => {});
  const lines = [
    line(
      "say who the client is, begin a trace",
      nanos(() => {
        head.fields.length = count;
        setForwarding(exchange, "core.acme.mesh", ids);
      }),
    ),
    line(
      "read a PROXY header",
      nanos(() => readProxyHeader(introduction)),
    ),
    line(
      "move a deadline",
      nanos(() => wheel.arm(timeout, 15_000)),
    ),
  ];
  wheel.close();
  return lines;
}
