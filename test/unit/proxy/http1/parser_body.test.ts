import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "#kernel/rng.ts";
import { BODY_UNKNOWN } from "#proxy/exchange/exchange.ts";
import { BodyDecoder } from "#proxy/http1/parser_body.ts";

/** Reads `pieces` one after the other; what came out, and how it ended. */
function read(length: number, pieces: readonly Buffer[]) {
  const decoder = new BodyDecoder();
  decoder.begin(length);
  let body = "";
  for (const piece of pieces) {
    decoder.at = 0;
    for (;;) {
      const step = decoder.step(piece);
      if (step === "data") body += decoder.data.toString("latin1");
      else if (step === "more") break;
      else return { end: step, body, trailers: decoder.trailers, rest: piece.length - decoder.at };
    }
  }
  return { end: "more", body, trailers: undefined, rest: 0 };
}

const CHUNKED =
  "5;ext=1\r\nhello\r\n1\r\n \r\n00a\r\n0123456789\r\n0\r\nX-Sum: 7\r\nhost-less: 1\r\n\r\n";

describe("bodies", () => {
  it("reads chunks wherever the input is cut", () => {
    const input = Buffer.from(CHUNKED, "latin1");
    for (let at = 0; at <= input.length; at++) {
      const { end, body, trailers } = read(BODY_UNKNOWN, [
        input.subarray(0, at),
        input.subarray(at),
      ]);
      assert.deepEqual([end, body], ["end", "hello 0123456789"], `cut at ${at}`);
      assert.deepEqual(trailers, ["x-sum", "7", "host-less", "1"]);
    }
    const bytes = Array.from(input, (_, i) => input.subarray(i, i + 1));
    assert.equal(read(BODY_UNKNOWN, bytes).body, "hello 0123456789");
  });

  it("reads extensions as RFC 9112 writes them", () => {
    const input = Buffer.from('1;a;b=c;d="e \\" ;f"\r\nx\r\n0;end\r\n\r\n', "latin1");
    assert.deepEqual(read(BODY_UNKNOWN, [input]).body, "x");
  });

  it("leaves what comes after the end", () => {
    const input = Buffer.from("0\r\n\r\nGET / HTTP/1.1");
    assert.deepEqual(read(BODY_UNKNOWN, [input]), {
      end: "end",
      body: "",
      trailers: undefined,
      rest: 14,
    });
    assert.equal(read(3, [Buffer.from("abcdef")]).rest, 3);
  });

  for (const bad of [
    "g\r\n",
    "-1\r\n",
    "+1\r\na\r\n",
    "0x1\r\na\r\n",
    " 1\r\na\r\n",
    "1 \r\na\r\n",
    "\r\n",
    "1\na\n",
    "1\r\nab\r\n",
    "1\r\na\n",
    "1\r\na\r\r\n",
    "fffffffffffff\r\n",
    `1;${"x".repeat(300)}\r\na\r\n`,
    `1;${"x".repeat(250)}\r\na\r\n`.repeat(70),
    "1_0\r\n",
    "1.\r\na\r\n",
    "\t1\r\na\r\n",
    "1\x0b\r\na\r\n",
    "0000000000001\r\na\r\n",
    "1;\r\na\r\n",
    "1;;a\r\na\r\n",
    "1 ;a\r\na\r\n",
    "1; a\r\na\r\n",
    "1;a=\r\na\r\n",
    "1;a b\r\na\r\n",
    '1;a="b\r\na\r\n',
    '1;a="b"c\r\na\r\n',
    '1;a="\\"\r\na\r\n',
    '1;a="\r\n0\r\n\r\n"\r\na\r\n',
    "1;a\rb\r\na\r\n",
    "1;a\n0\r\n\r\n",
    "1;a\0\r\na\r\n",
    "1\r\na0\r\n\r\n",
    "1\r\na\n0\r\n\r\n",
    "1\r\na\r0\r\n\r\n",
    "1\r\n\r\n0\r\n\r\n",
    "0\n\n",
    "0\r\n\n",
    "0\r\n\r\r\n",
    "0\r\nx: a\n\n",
    "0\r\nx: a\r\n folded\r\n\r\n",
    "0\r\nx : a\r\n\r\n",
    "0\r\n: a\r\n\r\n",
    "0\r\nx: \0\r\n\r\n",
    "0\r\nhost: a\r\n\r\n",
    "0\r\nconnection: close\r\n\r\n",
    "0\r\nconnection: keep-alive\r\n\r\n",
    "0\r\nupgrade: a\r\n\r\n",
    `0\r\n${"x: y\r\n".repeat(200)}\r\n`,
    `0\r\nx: ${"y".repeat(70_000)}\r\n\r\n`,
    "0\r\nbad line\r\n\r\n",
    "0\r\ncontent-length: 1\r\n\r\n",
    "0\r\ntransfer-encoding: chunked\r\n\r\n",
    "0\r\nx: a\nb: c\r\n\r\n",
  ]) {
    it(`refuses the chunk ${JSON.stringify(bad).slice(0, 40)}`, () => {
      const input = Buffer.from(bad, "latin1");
      assert.equal(read(BODY_UNKNOWN, [input]).end, "bad");
      const bytes = Array.from(input, (_, i) => input.subarray(i, i + 1));
      assert.equal(read(BODY_UNKNOWN, bytes).end, "bad", "byte by byte");
    });
  }

  it("drops trailers that would change the message or the hop", () => {
    const forbidden =
      "authorization: x\r\nx-mesh-caller: me\r\nX-Forwarded-For: 1\r\nconnection: x-a\r\nset-cookie: a=b\r\n";
    const input = Buffer.from(`0\r\n${forbidden}x-sum: 1\r\n\r\n`);
    assert.deepEqual(read(BODY_UNKNOWN, [input]).trailers, ["x-sum", "1"]);
  });

  it("never reads past its bounds, whatever comes", () => {
    const rng = seededRng(7);
    const alphabet = "0123456789abcdef\r\n;= x";
    for (let round = 0; round < 5_000; round++) {
      const text = Array.from(
        { length: rng.below(60) },
        () => alphabet[rng.below(alphabet.length)],
      );
      const input = Buffer.from(text.join(""), "latin1");
      const whole = read(BODY_UNKNOWN, [input]);
      const cut = rng.below(input.length + 1);
      const split = read(BODY_UNKNOWN, [input.subarray(0, cut), input.subarray(cut)]);
      assert.deepEqual(
        [split.end, split.body],
        [whole.end, whole.body],
        JSON.stringify(text.join("")),
      );
    }
  });
});
