import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { CONNECTION_LIMITS } from "#proxy/exchange/limits.ts";
import { HeadMemo } from "#proxy/http1/head_memo.ts";
import { isFailure, parseRequest } from "#proxy/http1/parser_head.ts";

const FIELDS = "\r\nHost: a.example\r\nAccept: */*\r\n\r\n";

function read(memo: HeadMemo, text: string): void {
  const buffer = Buffer.from(text, "latin1");
  const request = parseRequest(text.slice(0, -4), CONNECTION_LIMITS, memo.begin());
  assert.ok(!isFailure(request));
  memo.keep(buffer, text.indexOf("\r"), buffer.length);
}

const asked = (memo: HeadMemo, text: string, from = 0): number =>
  memo.endOf(Buffer.from(text, "latin1"), from);

describe("the memo of a connection's fields", () => {
  it("knows the same fields again under another target", () => {
    const memo = new HeadMemo();
    assert.equal(asked(memo, `GET / HTTP/1.1${FIELDS}`), -1);
    read(memo, `GET / HTTP/1.1${FIELDS}`);
    const next = `POST /other?x HTTP/1.1${FIELDS}`;
    assert.equal(asked(memo, `${next}GET`), next.length);
    assert.equal(asked(memo, `\r\n${next}`, 2), next.length + 2);
    assert.deepEqual(memo.parsed.fields, ["accept", "*/*"]);
    assert.equal(memo.parsed.host, "a.example");
  });

  it("knows nothing that differs in a byte, ends early or goes on", () => {
    const memo = new HeadMemo();
    read(memo, `GET / HTTP/1.1${FIELDS}`);
    const other = FIELDS.replace("a.example", "b.example");
    assert.equal(asked(memo, `GET / HTTP/1.1${other}`), -1);
    assert.equal(asked(memo, `GET / HTTP/1.1${FIELDS.slice(0, -1)}`), -1);
    assert.equal(asked(memo, `GET / HTTP/1.1${FIELDS.slice(0, -2)}X: y\r\n\r\n`), -1);
    assert.equal(asked(memo, `GET /\rx HTTP/1.1${FIELDS}`), -1);
    assert.equal(asked(memo, ""), -1);
  });

  it("keeps its list from those who change the request's", () => {
    const memo = new HeadMemo();
    const text = `GET / HTTP/1.1${FIELDS}`;
    const request = parseRequest(text.slice(0, -4), CONNECTION_LIMITS, memo.begin());
    assert.ok(!isFailure(request));
    memo.keep(Buffer.from(text, "latin1"), text.indexOf("\r"), text.length);
    request.head.fields.push("x-added", "later");
    assert.deepEqual(memo.parsed.fields, ["accept", "*/*"]);
  });

  it("keeps no long block, and gives up where every request differs", () => {
    const memo = new HeadMemo();
    const long = `\r\nHost: a.example\r\nX: ${"y".repeat(3_000)}\r\n\r\n`;
    read(memo, `GET / HTTP/1.1${long}`);
    assert.equal(asked(memo, `GET / HTTP/1.1${long}`), -1);
    read(memo, `GET / HTTP/1.1${FIELDS}`);
    for (let i = 0; i < 17; i++)
      asked(memo, `GET / HTTP/1.1${FIELDS.replace("*/*", `${i}/*`.slice(-3))}`);
    read(memo, `GET / HTTP/1.1${FIELDS}`);
    assert.equal(asked(memo, `GET / HTTP/1.1${FIELDS}`), -1);
  });
});
