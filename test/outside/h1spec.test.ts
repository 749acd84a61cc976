import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { LocalPlane } from "#proxy/app/local_plane.ts";
import { rawExchange, TestOrigin } from "#test/kit/http.ts";
import { simpleSnapshot, startPlane } from "#test/kit/proxy.ts";
import { RawClient } from "#test/kit/raw.ts";

/*
 * The ground of the public h1spec suites, made anew: what a server must wait for, what it must refuse and
 * with what, what it must take. The suites themselves need runtimes that no registry here offers.
 */

const HOST = "host: example.com";
const LAST = "connection: close";
const ok = (status: number): boolean => status >= 200 && status < 300;
const refused = (status: number): boolean => status >= 400 && status < 500;

interface Case {
  readonly what: string;
  readonly send: string;
  readonly expect: (status: number) => boolean;
}

const request = (line: string, ...fields: string[]): string =>
  `${[line, ...fields].join("\r\n")}\r\n\r\n`;
const get = (...fields: string[]): string => request("GET / HTTP/1.1", ...fields);
const post = (body: string, ...fields: string[]): string =>
  request("POST / HTTP/1.1", HOST, ...fields) + body;

const TAKEN: readonly Case[] = [
  { what: "a plain GET", send: get(HOST, LAST), expect: ok },
  {
    what: "odd case, tabs, no blanks, an empty value",
    send: get("hoSt:\texample.com", "empty:", "Connection:close"),
    expect: ok,
  },
  { what: "many blanks before a value", send: get(HOST, "connection:      close"), expect: ok },
  { what: "a value of blanks", send: get(HOST, "x-empty:   ", LAST), expect: ok },
  {
    what: "Expect without a body",
    send: get(HOST, "expect: 100-continue", LAST),
    expect: (s) => s === 100 || ok(s),
  },
  { what: "a body by length", send: post("hello", "content-length: 5", LAST), expect: ok },
  {
    what: "a body in chunks",
    send: post("5\r\nhello\r\n0\r\n\r\n", "transfer-encoding: chunked", LAST),
    expect: ok,
  },
  {
    what: "Expect with a body",
    send: post("hello", "expect: 100-continue", "content-length: 5", LAST),
    expect: (s) => s === 100 || ok(s),
  },
  {
    what: "an absolute target",
    send: request("GET http://example.com/ HTTP/1.1", HOST, LAST),
    expect: ok,
  },
  { what: "an asterisk", send: request("OPTIONS * HTTP/1.1", HOST, LAST), expect: ok },
  { what: "HEAD", send: request("HEAD / HTTP/1.1", HOST, LAST), expect: ok },
  { what: "HTTP/1.0", send: request("GET / HTTP/1.0", HOST), expect: ok },
  { what: "an empty line before", send: `\r\n${get(HOST, LAST)}`, expect: ok },
  {
    what: "a long target",
    send: request(`GET /${"a".repeat(9_000)} HTTP/1.1`, HOST, LAST),
    expect: ok,
  },
  {
    what: "a hundred fields",
    send: get(HOST, ...Array.from({ length: 101 }, (_, i) => `x-${i}: v`), LAST),
    expect: ok,
  },
  { what: "a long value", send: get(HOST, `x: ${"x".repeat(9_000)}`, LAST), expect: ok },
];

const is =
  (...statuses: number[]) =>
  (status: number) =>
    statuses.includes(status);
const REFUSED: readonly Case[] = [
  { what: "no version", send: request("GET / "), expect: is(400) },
  { what: "HTTP/0.9 with a head", send: request("GET /", HOST), expect: is(400) },
  { what: "a version from the future", send: request("GET / HTTP/9.9", HOST), expect: is(505) },
  { what: "HTTP/2.0", send: request("GET / HTTP/2.0", HOST), expect: is(505) },
  { what: "HTTP/3.0", send: request("GET / HTTP/3.0", HOST), expect: is(505) },
  { what: "HTTP/1", send: request("GET / HTTP/1", HOST), expect: is(400) },
  { what: "http/1.1", send: request("GET / http/1.1", HOST), expect: is(400) },
  { what: "HTTP/-1.1", send: request("GET / HTTP/-1.1", HOST), expect: is(400) },
  { what: "HTTP/0.0", send: request("GET / HTTP/0.0", HOST), expect: is(400) },
  { what: "another protocol", send: request("GET / ABCD/1.1", HOST), expect: is(400, 505) },
  { what: "something before the line", send: `Extra line${get(HOST)}`, expect: is(400) },
  { what: "no Host", send: get(), expect: is(400) },
  { what: "no Host, but a body", send: `${get("content-length: 5")}hello`, expect: is(400) },
  { what: "two Hosts", send: get(HOST, "host: example.org"), expect: is(400) },
  { what: "a Host with a blank", send: get("host: bad host"), expect: is(400) },
  { what: "a Host with NUL", send: get("host: local\x00host"), expect: is(400) },
  { what: "a blank before the colon", send: get("host : example.com"), expect: is(400) },
  { what: "a blank in a name", send: get(HOST, "bad header: x"), expect: is(400) },
  { what: "brackets in a name", send: get(HOST, "x-invalid[]: x"), expect: is(400) },
  { what: "a folded line", send: get(HOST, "  continued"), expect: is(400) },
  { what: "a control character", send: get(HOST, "x: test\x07"), expect: is(400) },
  {
    what: "a bare CR after the last line",
    send: `GET / HTTP/1.1\r\n${HOST}\r\n\rSome-Header: Test\r\n\r\n`,
    expect: is(400),
  },
  { what: "a negative length", send: post("", "content-length: -1234"), expect: is(400) },
  {
    what: "a negative length that overflows",
    send: post("", "content-length: -123456789123456789123456789"),
    expect: is(400),
  },
  { what: "a length of letters", send: post("hello", "content-length: abc"), expect: is(400) },
  {
    what: "two lengths",
    send: post("hello!!", "content-length: 5", "content-length: 7"),
    expect: is(400),
  },
  {
    what: "a length and chunks",
    send: post("0\r\n\r\n", "content-length: 5", "transfer-encoding: chunked"),
    expect: is(400),
  },
  {
    what: "chunks and a length",
    send: post("0\r\n\r\n", "transfer-encoding: chunked", "content-length: 5"),
    expect: is(400),
  },
  {
    what: "chunks in HTTP/1.0",
    send: `${request("POST / HTTP/1.0", HOST, "transfer-encoding: chunked")}0\r\n\r\n`,
    expect: is(400),
  },
  {
    what: "an unknown coding",
    send: post("hello", "transfer-encoding: nonsense"),
    expect: is(400, 501),
  },
  {
    what: "chunked not last",
    send: post("0\r\n\r\n", "transfer-encoding: chunked, gzip"),
    expect: is(400),
  },
  {
    what: "a chunk size that is none",
    send: post("Z\r\nhello\r\n0\r\n\r\n", "transfer-encoding: chunked"),
    expect: is(400),
  },
  {
    what: "a chunk without its end",
    send: post("5\r\nhello0\r\n\r\n", "transfer-encoding: chunked"),
    expect: is(400),
  },
  {
    what: "CONNECT without a route",
    send: request("CONNECT example.com:443 HTTP/1.1", "host: example.com:443"),
    expect: is(405),
  },
  {
    what: "CONNECT whose Host is the proxy's",
    send: request("CONNECT example.com:443 HTTP/1.1", "host: localhost"),
    expect: is(421),
  },
  {
    what: "a method in lower case that nobody serves",
    send: request("trace", HOST),
    expect: refused,
  },
];

describe("what h1spec asks", { timeout: 120_000 }, () => {
  const origin = new TestOrigin("origin");
  let plane: LocalPlane;
  let port = 0;
  before(async () => {
    ({ plane, port } = await startPlane(simpleSnapshot([await origin.start()])));
  });
  after(async () => {
    await plane.drain(0);
    await origin.stop();
  });

  const statusOf = (said: string): number => Number(/^HTTP\/1\.1 (\d{3}) /.exec(said)?.[1] ?? 0);

  for (const { what, send, expect } of TAKEN) {
    it(`takes ${what}`, async () => {
      const said = await rawExchange(port, send, 10_000);
      assert.ok(expect(statusOf(said)), said);
    });
  }

  for (const { what, send, expect } of REFUSED) {
    it(`refuses ${what}, once, and closes`, async () => {
      const before = origin.seen.length;
      const said = await rawExchange(port, send + get(HOST, LAST), 10_000);
      assert.ok(expect(statusOf(said)), said);
      assert.equal(said.match(/HTTP\/1\.1 \d/g)?.length, 1, said);
      assert.match(said, /\r\nconnection: close\r\n/);
      assert.match(said, /\r\ncontent-length: \d+\r\n/);
      assert.equal(origin.seen.length, before);
    });
  }

  it("waits for the rest of a request that is cut anywhere", async () => {
    const whole = get(HOST, LAST);
    for (let at = 1; at < whole.length; at++) {
      const client = new RawClient(port, whole.slice(0, at));
      // An exchange beside it: an answer to the piece would be there by now.
      await rawExchange(port, whole, 10_000);
      assert.equal(client.said, "", JSON.stringify(whole.slice(0, at)));
      client.send(whole.slice(at));
      assert.equal(statusOf(await client.rest()), 200);
    }
  });

  it("keeps a connection unless one side says otherwise", async () => {
    const client = new RawClient(port, get(HOST));
    await client.hears("origin");
    client.send(get(HOST));
    await client.hears(/origin.*origin/s);
    client.send(get(HOST, LAST));
    assert.equal((await client.rest()).match(/HTTP\/1\.1 200/g)?.length, 3);
  });

  it("sends no body with HEAD", async () => {
    const said = await rawExchange(port, request("HEAD / HTTP/1.1", HOST, LAST), 10_000);
    assert.ok(said.endsWith("\r\n\r\n"), said);
  });
});
