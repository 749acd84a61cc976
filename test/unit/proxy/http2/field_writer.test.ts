import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type AnswerHead, BODY_UNKNOWN, type RequestHead } from "#proxy/exchange/exchange.ts";
import { CONNECTION_LIMITS } from "#proxy/exchange/limits.ts";
import {
  encodeAnswer,
  encodeInterim,
  encodeRequest,
  encodeTrailers,
} from "#proxy/http2/field_writer.ts";
import { readAnswer, readRequest, readTrailers } from "#proxy/http2/fields.ts";
import { HpackEncoder } from "#proxy/http2/hpack_encoder.ts";
import { type Decoded, decodeBytes } from "#test/kit/hpack.ts";

const HEAD: RequestHead = {
  method: "GET",
  target: "/x?y",
  authority: "a.example:8080",
  fields: ["accept", "*/*", "cookie", "a=1; b=2"],
  body: 0,
  upgrade: undefined,
  takesTrailers: true,
};
const ANSWER: AnswerHead = {
  status: 200,
  reason: "Fine",
  fields: ["set-cookie", "a", "set-cookie", "b", "server", "x"],
  body: 3,
  upgrade: undefined,
};

function written(write: (encoder: HpackEncoder, into: Buffer, at: number) => number): Decoded {
  const buffer = Buffer.alloc(1_000);
  const end = write(new HpackEncoder(), buffer, 7);
  assert.ok(end > 0);
  assert.deepEqual(buffer.subarray(0, 7), Buffer.alloc(7));
  const decoded = decodeBytes(buffer.subarray(7, end));
  assert.equal(decoded.verdict, "ok");
  return decoded;
}

const request = (head: RequestHead, neverIndexed?: readonly string[]): Decoded =>
  written((encoder, into, at) => encodeRequest(encoder, head, "https", neverIndexed, into, at));
const answer = (head: AnswerHead, neverIndexed?: readonly string[]): Decoded =>
  written((encoder, into, at) => encodeAnswer(encoder, head, neverIndexed, into, at));

describe("HTTP/2 field writer", () => {
  it("writes requests that are read as they were", () => {
    const heads: RequestHead[] = [
      HEAD,
      { ...HEAD, method: "POST", body: 12, takesTrailers: false },
      { ...HEAD, method: "POST", body: BODY_UNKNOWN },
      { ...HEAD, method: "PUT", body: 0 },
      { ...HEAD, method: "OPTIONS", target: "*" },
      { ...HEAD, method: "CONNECT", target: "a.example:80", authority: "a.example:80" },
      { ...HEAD, upgrade: "websocket" },
    ];
    for (const head of heads) {
      const ends = head.body === 0;
      assert.deepEqual(readRequest(request(head).block, ends, CONNECTION_LIMITS), head);
    }
  });

  it("puts pseudo-fields first, as RFC 9113 and RFC 8441 name them", () => {
    const names = (head: RequestHead) => request(head).pairs.map(([name]) => name);
    const usual = [":method", ":scheme", ":authority", ":path", "accept", "cookie", "te"];
    assert.deepEqual(names(HEAD), usual);
    assert.deepEqual(names({ ...HEAD, method: "CONNECT" }).slice(0, 3), [
      ":method",
      ":authority",
      "accept",
    ]);
    const extended = request({ ...HEAD, upgrade: "websocket" }).pairs.slice(0, 5);
    assert.deepEqual(extended, [
      [":method", "CONNECT"],
      [":scheme", "https"],
      [":authority", "a.example:8080"],
      [":path", "/x?y"],
      [":protocol", "websocket"],
    ]);
  });

  it("says of methods that have bodies that this one has none", () => {
    const last = (head: RequestHead) => request(head).pairs.at(-1);
    assert.deepEqual(last({ ...HEAD, method: "POST" }), ["content-length", "0"]);
    assert.deepEqual(last(HEAD), ["te", "trailers"]);
  });

  it("writes answers that are read as they were", () => {
    for (const head of [ANSWER, { ...ANSWER, body: BODY_UNKNOWN }, { ...ANSWER, body: 0 }]) {
      const read = readAnswer(answer(head).block, head.body === 0, "GET", undefined);
      assert.deepEqual(read, { ...head, reason: "" });
    }
    const switched: AnswerHead = { ...ANSWER, status: 101, body: 0, upgrade: "websocket" };
    const { block, pairs } = answer(switched);
    assert.deepEqual(pairs[0], [":status", "200"]);
    assert.deepEqual(readAnswer(block, false, "GET", "websocket"), { ...switched, reason: "" });
  });

  it("writes interim answers and trailers", () => {
    const early = written((encoder, into, at) =>
      encodeInterim(encoder, 103, ["link", "</a>"], into, at),
    );
    assert.deepEqual(early.pairs, [
      [":status", "103"],
      ["link", "</a>"],
    ]);
    const { block, neverIndexed } = written((encoder, into, at) =>
      encodeTrailers(encoder, ["grpc-status", "0", "x-sum", "1"], ["x-sum"], into, at),
    );
    assert.deepEqual(readTrailers(block, "bad_answer"), ["grpc-status", "0", "x-sum", "1"]);
    assert.deepEqual(neverIndexed, ["x-sum"]);
  });

  it("marks what the hop before has marked", () => {
    assert.deepEqual(request(HEAD, ["accept"]).neverIndexed, ["accept", "cookie"]);
    assert.deepEqual(answer(ANSWER, ["server"]).neverIndexed, ["set-cookie", "server"]);
  });

  it("says what room would be enough, and then needs no more", () => {
    const encoder = new HpackEncoder();
    const none = Buffer.alloc(0);
    const writers: ReadonlyArray<(into: Buffer) => number> = [
      (into) => encodeRequest(encoder, HEAD, "http", undefined, into, 0),
      (into) => encodeAnswer(encoder, ANSWER, undefined, into, 0),
      (into) => encodeInterim(encoder, 100, [], into, 0),
      (into) => encodeTrailers(encoder, ["x-sum", "1"], undefined, into, 0),
    ];
    for (const write of writers) {
      const room = -write(none);
      assert.ok(room > 0);
      assert.equal(write(Buffer.alloc(room - 1)), -room);
      const end = write(Buffer.alloc(room));
      assert.ok(end > 0 && end <= room);
    }
  });
});
