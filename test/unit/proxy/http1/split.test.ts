import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Exchange, Fields, RequestHead } from "#proxy/exchange/exchange.ts";
import {
  type Answerer,
  openDownstream,
  openUpstream,
  request,
  turn,
} from "#test/kit/http1_ends.ts";

const HEAD = "POST /x HTTP/1.1\r\nHost: a\r\n";
const CHUNKED = `${HEAD}Transfer-Encoding: chunked\r\n\r\n`;

/** What clients say, good and bad; several at once too. */
const SAID_BY_CLIENTS: Readonly<Record<string, string>> = {
  "a GET": "GET /a?b HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\r\n",
  "a body of a length": `${HEAD}Content-Length: 5\r\n\r\nhello`,
  "a body in chunks": `${CHUNKED}5;a="b"\r\nhello\r\n1\r\n!\r\n0\r\n\r\n`,
  trailers: `${CHUNKED}1\r\na\r\n0\r\nX-Sum: 1\r\nAuthorization: no\r\n\r\n`,
  "HTTP/1.0": "GET / HTTP/1.0\r\n\r\n",
  "HTTP/1.0 that stays": "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n",
  HEAD: "HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
  "an expectation": `${HEAD}Expect: 100-continue\r\nContent-Length: 2\r\n\r\nok`,
  "several in a row": `\r\n${CHUNKED}1\r\na\r\n0\r\n\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n${HEAD}Content-Length: 1\r\n\r\nb`,
  "a last one":
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
  "a good one before a bad one": `GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost : a\r\n\r\n`,
  "a bad one before a good one": `GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n`,
  "two empty lines": "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
  "a bare line feed": "GET / HTTP/1.1\nHost: a\n\n",
  "a bare line feed later": "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
  "a bare carriage return": "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
  "a carriage return before the line's end": "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
  "an early NUL": "G\0T / HTTP/1.1\r\nHost: a\r\n\r\n",
  "a fold": "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
  "HTTP/0.9": "GET /\r\n\r\n",
  "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  "HTTP/2 with a NUL": "GET / HTTP/2.0\r\nHost: \0\r\n\r\n",
  "two lengths": `${HEAD}Content-Length: 1\r\nContent-Length: 1\r\n\r\na`,
  "length and chunks": `${HEAD}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  "a bad size": `${CHUNKED}1\r\na\r\nx\r\n`,
  "a chunk too long": `${CHUNKED}1\r\nab\r\n0\r\n\r\n`,
  "a bare line feed after a size": `${CHUNKED}1\na\r\n0\r\n\r\n`,
  "a bad extension": `${CHUNKED}1;\r\na\r\n0\r\n\r\n`,
  "a forbidden trailer": `${CHUNKED}0\r\nHost: b\r\n\r\n`,
  "a folded trailer": `${CHUNKED}0\r\nX: a\r\n b\r\n\r\n`,
  "a trailer ended by line feeds": `${CHUNKED}0\r\nX: a\n\n`,
  TRACE: "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
  "another expectation": `${HEAD}Expect: x\r\nContent-Length: 2\r\n\r\nok`,
};

/** Every way to say `bytes`: whole, cut once anywhere, byte by byte. */
function* ways(bytes: Buffer): Iterable<readonly [how: string, pieces: readonly Buffer[]]> {
  yield ["whole", [bytes]];
  for (let at = 1; at < bytes.length; at++) {
    yield [`cut at ${at}`, [bytes.subarray(0, at), bytes.subarray(at)]];
  }
  yield ["byte by byte", Array.from(bytes, (_, i) => bytes.subarray(i, i + 1))];
}

function answerNow(exchange: Exchange, body: string, trailers: Fields | undefined): void {
  const text = Buffer.from(`${exchange.head.method} ${body}`, "latin1");
  const fields = trailers === undefined ? [] : ["x-trailers", trailers.join(" ")];
  exchange.answer({ status: 200, reason: "", fields, body: text.length, upgrade: undefined });
  exchange.answerBody(text);
  exchange.answerEnd(undefined);
}

const ANSWERERS: Readonly<Record<string, Answerer>> = {
  "at once": answerNow,
  later: (exchange, body, trailers) => {
    setImmediate(() => answerNow(exchange, body, trailers));
  },
};

async function hear(pieces: readonly Buffer[], answer: Answerer) {
  const end = openDownstream(answer);
  for (const piece of pieces) {
    end.socket.say(piece);
    // With nothing between two pieces there would be nothing to go wrong.
    if (pieces.length === 2) await turn();
  }
  // Each of three requests takes a turn, and its answer another.
  for (let i = 0; i < 8; i++) await turn();
  const { events, refused, socket } = end;
  const heard = { events: [...events], refused, written: socket.written, ending: socket.ending };
  socket.destroy();
  return heard;
}

describe("what a client says, cut anywhere", () => {
  for (const [name, text] of Object.entries(SAID_BY_CLIENTS)) {
    it(`means the same: ${name}`, async () => {
      const bytes = Buffer.from(text, "latin1");
      for (const [when, answer] of Object.entries(ANSWERERS)) {
        let whole: unknown;
        for (const [how, pieces] of ways(bytes)) {
          const heard = await hear(pieces, answer);
          whole ??= heard;
          assert.deepEqual(heard, whole, `${how}, answered ${when}`);
        }
      }
    });
  }
});

/** What endpoints say, to what. */
const SAID_BY_ENDPOINTS: ReadonlyArray<
  readonly [name: string, text: string, asked?: Partial<RequestHead>, ends?: boolean]
> = [
  ["a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello"],
  ["no body", "HTTP/1.1 204 No Content\r\n\r\n"],
  [
    "chunks",
    "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
  ],
  ["until the end", "HTTP/1.1 200 OK\r\n\r\nhello", {}, true],
  ["until the end, empty", "HTTP/1.0 200 OK\r\n\r\n", {}, true],
  ["HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", { method: "HEAD" }],
  ["HEAD in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", { method: "HEAD" }],
  ["304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"],
  [
    "interim ones",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
  ],
  [
    "a switch",
    "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: b\r\n\r\nbytes",
    { upgrade: "b" },
  ],
  ["a switch unasked", "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: b\r\n\r\nbytes"],
  ["a cut body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", {}, true],
  ["a cut chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhell", {}, true],
  ["no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", {}, true],
  ["a cut head", "HTTP/1.1 200 OK\r\nContent-Le", {}, true],
  ["a bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nx\r\n"],
  [
    "a bad trailer",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 1\r\n\r\n",
  ],
  ["another status line", "HTTP/1.1 2e2 OK\r\n\r\n"],
  ["another protocol", "SSH-2.0-x\r\n\r\n"],
  ["a bare line feed", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"],
  ["a NUL", "HTTP/1.1 200 OK\r\nX: \0\r\n\r\n"],
  ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na"],
  ["too many interim ones", `${"HTTP/1.1 102 x\r\n\r\n".repeat(33)}HTTP/1.1 204 x\r\n\r\n`],
];

async function hearAnswer(asked: RequestHead, pieces: readonly Buffer[], ends: boolean) {
  const end = openUpstream(asked);
  for (const piece of pieces) end.socket.say(piece);
  if (ends) end.socket.sayEnd();
  await turn();
  const { events, body, idle, socket } = end;
  const heard = { events: [...events], body, idle, ending: socket.ending };
  socket.destroy();
  return heard;
}

describe("what an endpoint says, cut anywhere", () => {
  for (const [name, text, asked = {}, ends = false] of SAID_BY_ENDPOINTS) {
    it(`means the same: ${name}`, async () => {
      let whole: unknown;
      for (const [how, pieces] of ways(Buffer.from(text, "latin1"))) {
        const heard = await hearAnswer(request(asked), pieces, ends);
        whole ??= heard;
        assert.deepEqual(heard, whole, how);
      }
    });
  }
});
