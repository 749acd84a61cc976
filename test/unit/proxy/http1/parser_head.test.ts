import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { BODY_UNKNOWN } from "#proxy/exchange/exchange.ts";
import type { Failure } from "#proxy/exchange/failure.ts";
import { CONNECTION_LIMITS } from "#proxy/exchange/limits.ts";
import {
  isFailure,
  type ParsedAnswer,
  type ParsedRequest,
  parseAnswer,
  parseRequest,
  UNTIL_CLOSE,
} from "#proxy/http1/parser_head.ts";

const request = (text: string): ParsedRequest | Failure => parseRequest(text, CONNECTION_LIMITS);
const good = (text: string): ParsedRequest => {
  const parsed = request(text);
  assert.ok(!isFailure(parsed), JSON.stringify(parsed));
  return parsed as ParsedRequest;
};

/** Each is read differently by some server somewhere; none may pass (RFC 9112, RFC 9110). */
const REFUSED: ReadonlyArray<readonly [why: string, head: string, kind?: string]> = [
  [
    "Content-Length and Transfer-Encoding",
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked",
  ],
  [
    "Transfer-Encoding and Content-Length",
    "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 3",
  ],
  [
    "two lengths that differ",
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4",
  ],
  [
    "two lengths that agree",
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 3",
  ],
  ["a list of lengths", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3, 3"],
  ["a signed length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +3"],
  ["a hexadecimal length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x3"],
  ["an empty length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length:"],
  ["a length beyond what counts", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9999999999999999"],
  ["another coding", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked"],
  ["chunked twice", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked"],
  ["a coding with a vertical tab", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \x0bchunked"],
  ["chunked in HTTP/1.0", "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked"],
  ["a length with an underscore", "POST / HTTP/1.1\r\nhost: a\r\nContent_Length: 3"],
  ["a coding with an underscore", "POST / HTTP/1.1\r\nhost: a\r\ntransfer_encoding: chunked"],
  ["a bare line feed between fields", "GET / HTTP/1.1\r\nhost: a\nx: y"],
  ["a bare line feed in a value", "GET / HTTP/1.1\r\nhost: a\r\nx: y\nz: 1"],
  ["a bare carriage return", "GET / HTTP/1.1\r\nhost: a\r\nx: y\rz"],
  ["a folded line", "GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n z"],
  ["a space before the colon", "GET / HTTP/1.1\r\nhost: a\r\ncontent-length : 3"],
  ["no colon", "GET / HTTP/1.1\r\nhost: a\r\nnonsense"],
  ["an empty name", "GET / HTTP/1.1\r\nhost: a\r\n: x"],
  ["a name that is no token", "GET / HTTP/1.1\r\nhost: a\r\nx(y): z"],
  ["Content-Length under another name", "GET / HTTP/1.1\r\nhost: a\r\ncontent_length: 3"],
  [
    "Transfer-Encoding under another name",
    "GET / HTTP/1.1\r\nhost: a\r\nTransfer_Encoding: chunked",
  ],
  ["a NUL in a value", "GET / HTTP/1.1\r\nhost: a\r\nx: a\0b"],
  ["DEL in a value", "GET / HTTP/1.1\r\nhost: a\r\nx: a\x7fb"],
  ["no Host", "GET / HTTP/1.1\r\nx: y"],
  ["two Hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: a"],
  ["a Host with a path", "GET / HTTP/1.1\r\nhost: a/b"],
  ["a Host with a user", "GET / HTTP/1.1\r\nhost: u@a"],
  ["a Host with a space", "GET / HTTP/1.1\r\nhost: a b"],
  ["a Host with a comma", "GET / HTTP/1.1\r\nhost: a,b"],
  ["a Host that is escaped", "GET / HTTP/1.1\r\nhost: %61"],
  ["a Host that is a pattern", "GET / HTTP/1.1\r\nhost: *.a"],
  ["a Host with an empty label", "GET / HTTP/1.1\r\nhost: a..b"],
  ["a Host that begins with a dot", "GET / HTTP/1.1\r\nhost: .a"],
  ["a Host beyond ASCII", "GET / HTTP/1.1\r\nhost: \xe4"],
  ["a port without digits", "GET / HTTP/1.1\r\nhost: a:"],
  ["a port beyond all ports", "GET / HTTP/1.1\r\nhost: a:65536"],
  ["a port with zeros before it", "GET / HTTP/1.1\r\nhost: a:080"],
  ["an address without brackets", "GET / HTTP/1.1\r\nhost: ::1"],
  ["an empty Host", "GET / HTTP/1.1\r\nhost:"],
  ["a Host that disagrees with the target", "GET http://b/ HTTP/1.1\r\nhost: a"],
  ["a Host without the target's port", "GET http://a:80/ HTTP/1.1\r\nhost: a"],
  ["a target with a user", "GET http://u@a/ HTTP/1.1\r\nhost: a"],
  ["a target with a port beyond all ports", "GET http://a:65536/ HTTP/1.1\r\nhost: a:65536"],
  ["a target of another scheme", "GET ftp://a/ HTTP/1.1\r\nhost: a"],
  ["a target that names no host", "GET http:///x HTTP/1.1\r\nhost: a"],
  ["a target that is a host", "GET a:80 HTTP/1.1\r\nhost: a:80"],
  ["a fragment", "GET /a#b HTTP/1.1\r\nhost: a"],
  ["a fragment of an absolute target", "GET http://a#b HTTP/1.1\r\nhost: a"],
  ["a method in small letters", "get / HTTP/1.1\r\nhost: a"],
  ["TRACE in other letters", "Trace / HTTP/1.1\r\nhost: a"],
  ["HTTP/0.9", "GET /"],
  ["a lower-case version", "GET / http/1.1\r\nhost: a"],
  ["a version with words", "GET / HTTP/1.1x\r\nhost: a"],
  ["two spaces", "GET  / HTTP/1.1\r\nhost: a"],
  ["a tab for a space", "GET\t/ HTTP/1.1\r\nhost: a"],
  ["a target with a space", "GET /a b HTTP/1.1\r\nhost: a"],
  ["a target without a slash", "GET x HTTP/1.1\r\nhost: a"],
  ["a target with a control character", "GET /\x01 HTTP/1.1\r\nhost: a"],
  ["a target beyond ASCII", "GET /\xe4 HTTP/1.1\r\nhost: a"],
  ["an asterisk for GET", "GET * HTTP/1.1\r\nhost: a"],
  ["a method that is no token", "G@T / HTTP/1.1\r\nhost: a"],
  ["a method without end", `${"G".repeat(33)} / HTTP/1.1\r\nhost: a`],
  ["an empty line", ""],
  ["HTTP/2", "GET / HTTP/2.0\r\nhost: a", "version_refused"],
  ["CONNECT without a port", "CONNECT a HTTP/1.1\r\nhost: a"],
  ["CONNECT to port 0", "CONNECT a:0 HTTP/1.1\r\nhost: a:0"],
  ["CONNECT beyond the last port", "CONNECT a:65536 HTTP/1.1\r\nhost: a:65536"],
  ["CONNECT with a path", "CONNECT a:1/ HTTP/1.1\r\nhost: a:1"],
  ["CONNECT with a user", "CONNECT u@a:1 HTTP/1.1\r\nhost: a:1"],
  ["CONNECT in origin form", "CONNECT / HTTP/1.1\r\nhost: a:1"],
  ["CONNECT in absolute form", "CONNECT http://a:1/ HTTP/1.1\r\nhost: a:1"],
  ["CONNECT whose Host disagrees", "CONNECT a:1 HTTP/1.1\r\nhost: b:1", "misdirected"],
  ["CONNECT whose Host has no port", "CONNECT a:443 HTTP/1.1\r\nhost: a", "misdirected"],
  ["CONNECT whose Host is none", "CONNECT a:443 HTTP/1.1\r\nhost: a b"],
  ["CONNECT without Host", "CONNECT a:1 HTTP/1.1"],
  ["CONNECT with a length", "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\ncontent-length: 0"],
  ["CONNECT with chunks", "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\ntransfer-encoding: chunked"],
  ["an authority for GET", "GET a:1 HTTP/1.1\r\nhost: a:1"],
  ["TRACE", "TRACE / HTTP/1.1\r\nhost: a", "method_refused"],
  ["another expectation", "GET / HTTP/1.1\r\nhost: a\r\nexpect: y", "expectation_refused"],
  [
    "a hidden 100-continue",
    "GET / HTTP/1.1\r\nhost: a\r\nexpect: y 100-continue",
    "expectation_refused",
  ],
  [
    "two expectations",
    "GET / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\nexpect: y",
    "expectation_refused",
  ],
  ["too long a target", `GET /${"a".repeat(20_000)} HTTP/1.1\r\nhost: a`, "target_too_long"],
  ["too many fields", `GET / HTTP/1.1\r\nhost: a${"\r\nx: y".repeat(200)}`, "head_too_large"],
];

describe("request heads", () => {
  for (const [why, head, kind = "bad_request"] of REFUSED) {
    it(`refuses ${why}`, () => {
      const parsed = request(head);
      assert.ok(isFailure(parsed), JSON.stringify(parsed));
      assert.equal((parsed as Failure).kind, kind);
    });
  }

  it("reads target, host and fields, names in lower case, values as they are", () => {
    const { head, keepAlive } = good(
      "GET /a?b=c HTTP/1.1\r\nHost: Shop.Example:80\r\nX-One:  two words \r\nX-Empty:",
    );
    assert.deepEqual(head, {
      method: "GET",
      target: "/a?b=c",
      authority: "shop.example:80",
      fields: ["x-one", "two words", "x-empty", ""],
      body: 0,
      upgrade: undefined,
      takesTrailers: false,
    });
    assert.equal(keepAlive, true);
  });

  it("drops what belongs to one connection, also by name", () => {
    const { head } = good(
      "GET / HTTP/1.1\r\nhost: a\r\nconnection: x-secret, keep-alive\r\nx-secret: 1\r\nkeep-alive: 3\r\nte: trailers\r\nupgrade: h2c\r\nx-kept: 1",
    );
    assert.deepEqual(head.fields, ["x-kept", "1"]);
  });

  it("takes names that every object has for what they are", () => {
    const { head } = good(
      "GET / HTTP/1.1\r\nhost: a\r\nconstructor: 5\r\n__proto__: 6\r\nconnection: __proto__",
    );
    assert.equal(head.body, 0);
    assert.deepEqual(head.fields, ["constructor", "5"]);
  });

  it("drops what would forge a client's address for servers that take _ for -", () => {
    const { head } = good(
      "GET / HTTP/1.1\r\nhost: a\r\nx_forwarded_for: 1\r\nX-Mesh_Caller: 2\r\nx_real_ip: 3\r\nx_kept: 4",
    );
    assert.deepEqual(head.fields, ["x_kept", "4"]);
  });

  it("cannot be made to drop Host or framing by Connection", () => {
    const { head } = good(
      "POST / HTTP/1.1\r\nhost: a\r\nconnection: host, content-length\r\ncontent-length: 3",
    );
    assert.equal(head.authority, "a");
    assert.equal(head.body, 3);
  });

  it("knows how the connection goes on", () => {
    assert.equal(good("GET / HTTP/1.1\r\nhost: a\r\nconnection: close").keepAlive, false);
    assert.equal(good("GET / HTTP/1.0\r\nhost: a").keepAlive, false);
    assert.equal(good("GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive").keepAlive, true);
  });

  it("reads an absolute target and prefers its host", () => {
    const { head } = good("GET http://A.Example/x?y HTTP/1.1\r\nhost: a.example");
    assert.deepEqual([head.target, head.authority], ["/x?y", "a.example"]);
    const query = good("GET HTTP://a:8080?y HTTP/1.1\r\nhost: a:8080").head;
    assert.deepEqual([query.target, query.authority], ["/?y", "a:8080"]);
    const all = good("OPTIONS http://a HTTP/1.1\r\nhost: a").head;
    assert.equal(all.target, "*");
  });

  for (const host of [
    "a",
    "a.b:1",
    "a.",
    "A_b-c.d",
    "10.0.0.1:65535",
    "[::1]",
    "[::ffff:1.2.3.4]:0",
  ]) {
    it(`reads the host ${host}`, () => {
      assert.equal(good(`GET / HTTP/1.1\r\nhost: ${host}`).head.authority, host.toLowerCase());
    });
  }

  it("passes the one expectation there is", () => {
    const { head } = good("GET / HTTP/1.1\r\nhost: a\r\nExpect: 100-Continue");
    assert.deepEqual(head.fields, ["expect", "100-Continue"]);
  });

  it("reads the host and port of CONNECT, which keeps no connection", () => {
    const { head, keepAlive } = good("CONNECT Db.Example:5432 HTTP/1.1\r\nhost: db.example:5432");
    assert.deepEqual([head.target, head.authority], ["db.example:5432", "db.example:5432"]);
    assert.equal(keepAlive, false);
    assert.equal(good("CONNECT [::1]:1 HTTP/1.0").head.authority, "[::1]:1");
  });

  it("knows the framing of bodies", () => {
    assert.equal(good("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0042").head.body, 42);
    const chunked = good("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked");
    assert.equal(chunked.head.body, BODY_UNKNOWN);
  });
});

describe("answer heads", () => {
  const answer = (text: string, method = "GET") => parseAnswer(text, method, CONNECTION_LIMITS);
  const fine = (text: string, method = "GET"): ParsedAnswer => {
    const parsed = answer(text, method);
    assert.ok(!isFailure(parsed), JSON.stringify(parsed));
    return parsed as ParsedAnswer;
  };

  for (const bad of [
    "HTTP/2 200 OK",
    "HTTP/1.1 99 Low",
    "HTTP/1.1 600 High",
    "HTTP/1.1 2000 OK",
    "HTTP/1.1 2e2 OK",
    "HTTP/1.1 0x9 OK",
    "HTTP/1.1  20 OK",
    "HTTP/1.1 +99 OK",
    "HTTP/1.1 20",
    "HTTP/1.1\t200 OK",
    "HTTP/1.1  200 OK",
    "HTTP/1.1 200\tOK",
    "http/1.1 200 OK",
    "HTTP/1.2 200 OK",
    "HTTP/1.10 200 OK",
    "HTTP/01.1 200 OK",
    " HTTP/1.1 200 OK",
    "",
    "HTTP/1.1 OK",
    "HTTP/1.1 100 Continue\r\ncontent-length: 1",
    "HTTP/1.1 103 Early Hints\r\ntransfer-encoding: chunked",
    "HTTP/1.1 204 No Content\r\ncontent-length: 1",
    "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked",
    "HTTP/1.1 205 Reset Content\r\ncontent-length: 1",
    "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: identity",
    "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked",
    "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1",
    "HTTP/1.1 200 OK\r\nx: a\nb",
    "ICY 200 OK",
  ]) {
    it(`refuses ${JSON.stringify(bad)}`, () => {
      const parsed = answer(bad);
      assert.ok(isFailure(parsed), JSON.stringify(parsed));
      assert.equal((parsed as Failure).kind, "bad_answer");
    });
  }

  it("knows where a body ends", () => {
    assert.equal(fine("HTTP/1.1 200 OK\r\ncontent-length: 5").head.body, 5);
    assert.equal(fine("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked").head.body, BODY_UNKNOWN);
    const open = fine("HTTP/1.1 200 OK");
    assert.deepEqual([open.head.body, open.keepAlive], [UNTIL_CLOSE, false]);
    assert.equal(fine("HTTP/1.1 204 No Content").head.body, 0);
    assert.equal(fine("HTTP/1.1 204 No Content\r\ncontent-length: 0").head.body, 0);
    assert.equal(fine("HTTP/1.1 205 Reset Content\r\ncontent-length: 0").head.body, 0);
    assert.equal(fine("HTTP/1.1 304 Not Modified\r\ncontent-length: 9").head.body, 0);
  });

  it("sees a tunnel in 2xx to CONNECT alone, whatever length it claims", () => {
    for (const framing of ["", "\r\ncontent-length: 5", "\r\ntransfer-encoding: chunked"]) {
      const { head } = fine(`HTTP/1.1 200 OK${framing}`, "CONNECT");
      assert.deepEqual([head.body, head.fields], [0, []]);
    }
    assert.equal(fine("HTTP/1.1 407 No\r\ncontent-length: 5", "CONNECT").head.body, 5);
  });

  it("keeps the length of what HEAD and 304 describe", () => {
    const { head } = fine("HTTP/1.1 200 OK\r\ncontent-length: 9", "HEAD");
    assert.deepEqual([head.body, head.fields], [0, ["content-length", "9"]]);
  });
});
