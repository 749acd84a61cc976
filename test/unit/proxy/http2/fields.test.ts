import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type AnswerHead, BODY_UNKNOWN, type RequestHead } from "#proxy/exchange/exchange.ts";
import type { Failure } from "#proxy/exchange/failure.ts";
import { CONNECTION_LIMITS } from "#proxy/exchange/limits.ts";
import { hasStrayBytes } from "#proxy/http1/parser_fields.ts";
import { isRefused, readAnswer, readRequest, readTrailers } from "#proxy/http2/fields.ts";
import { blockOf, type Pairs } from "#test/kit/hpack.ts";

const PSEUDO: Pairs = [
  [":method", "GET"],
  [":scheme", "https"],
  [":authority", "a.example"],
  [":path", "/x?y"],
];
const METHOD_ONLY: Pairs = [[":method", "GET"]];
const EXTENDED: Pairs = [
  [":method", "CONNECT"],
  [":protocol", "websocket"],
  [":scheme", "https"],
  [":path", "/chat"],
  [":authority", "a.example"],
];
const CONNECT: Pairs = [
  [":method", "CONNECT"],
  [":authority", "a.example:443"],
];

const request = (pairs: Pairs, endStream = true): RequestHead | Failure =>
  readRequest(blockOf(pairs), endStream, CONNECTION_LIMITS);
const good = (pairs: Pairs, endStream = true): RequestHead => {
  const head = request(pairs, endStream);
  assert.ok(!isRefused(head), JSON.stringify(head));
  return head;
};
/** The usual pseudo-fields, one of them with another value. */
const but = (name: string, value: string): Pairs =>
  PSEUDO.map(([known, usual]) => [known, known === name ? value : usual]);
const without = (name: string): Pairs => PSEUDO.filter(([known]) => known !== name);
const and = (...more: Pairs): Pairs => [...PSEUDO, ...more];

/** None may become an HTTP/1 message: each is a stream error (RFC 9113 §8.1.1). */
const REFUSED: ReadonlyArray<readonly [why: string, pairs: Pairs]> = [
  ["no field at all", []],
  ["no :method", without(":method")],
  ["no :scheme", without(":scheme")],
  ["no :path", without(":path")],
  ["neither :authority nor Host", without(":authority")],
  ["two :method", [[":method", "GET"], ...PSEUDO]],
  ["two :path", [[":path", "/x?y"], ...PSEUDO]],
  ["two :scheme", [[":scheme", "https"], ...PSEUDO]],
  ["two :authority", [[":authority", "a.example"], ...PSEUDO]],
  ["a pseudo-field behind others", [...METHOD_ONLY, ["accept", "x"], ...PSEUDO.slice(1)]],
  ["a pseudo-field behind a cookie", [...METHOD_ONLY, ["cookie", "x"], ...PSEUDO.slice(1)]],
  ["a pseudo-field behind Host", [...METHOD_ONLY, ["host", "a.example"], ...PSEUDO.slice(1)]],
  [
    "a pseudo-field behind one that is dropped",
    [...METHOD_ONLY, ["http2-settings", "x"], ...PSEUDO.slice(1)],
  ],
  ["a pseudo-field that nobody knows", and([":foo", "x"])],
  ["… before the others", [[":foo", "x"], ...PSEUDO]],
  [":status in a request", [[":status", "200"], ...PSEUDO]],
  ["a name of a colon alone", [[":", "x"], ...PSEUDO]],
  ["a pseudo-field with a capital", [[":Method", "GET"], ...PSEUDO.slice(1)]],
  ["a capital in a name", and(["X-Own", "x"])],
  ["an empty name", and(["", "x"])],
  ["a blank in a name", and(["x own", "x"])],
  ["a colon in a name", and(["x:own", "x"])],
  ["a line feed in a name", and(["x\nown", "x"])],
  ["a NUL in a name", and(["x\0", "x"])],
  ["DEL in a name", and(["x\x7f", "x"])],
  ["a byte beyond ASCII in a name", and(["x\xe9", "x"])],
  ["a line feed in a value", and(["x-own", "a\nb"])],
  ["a carriage return in a value", and(["x-own", "a\rb"])],
  ["CRLF in a value", and(["x-own", "a\r\nhost: b"])],
  ["a NUL in a value", and(["x-own", "a\0b"])],
  ["DEL in a value", and(["x-own", "a\x7fb"])],
  ["a blank before a value", and(["x-own", " a"])],
  ["a blank behind a value", and(["x-own", "a "])],
  ["a tab before a value", and(["x-own", "\ta"])],
  ["a tab behind a value", and(["x-own", "a\t"])],
  ["a blank as a value", and(["x-own", " "])],
  ["a line feed in a value that is dropped", and(["http2-settings", "a\nb"])],
  ["Connection", and(["connection", "close"])],
  ["Connection, empty", and(["connection", ""])],
  ["Keep-Alive", and(["keep-alive", "timeout=5"])],
  ["Proxy-Connection", and(["proxy-connection", "keep-alive"])],
  ["Transfer-Encoding", and(["transfer-encoding", "chunked"])],
  ["Upgrade", and(["upgrade", "websocket"])],
  ["TE with a coding", and(["te", "gzip"])],
  ["TE with more than trailers", and(["te", "trailers, gzip"])],
  ["TE, empty", and(["te", ""])],
  ["framing under an underscore", and(["content_length", "3"])],
  ["a coding under an underscore", and(["transfer_encoding", "chunked"])],
  ["an empty :path", but(":path", "")],
  [":path without a slash", but(":path", "x")],
  [":path with a host", but(":path", "https://a.example/")],
  [":path with a fragment", but(":path", "/x#y")],
  [":path with a blank", but(":path", "/x y")],
  [":path with a byte beyond ASCII", but(":path", "/\xe9")],
  [":path with a line feed", but(":path", "/x\ny")],
  ["* for another method than OPTIONS", but(":path", "*")],
  ["an empty :method", but(":method", "")],
  [":method with small letters", but(":method", "get")],
  [":method with a blank", but(":method", "GET /")],
  ["another :scheme", but(":scheme", "ftp")],
  [":scheme with a slash", but(":scheme", "http://b/?")],
  ["an empty :scheme", but(":scheme", "")],
  ["an empty :authority", but(":authority", "")],
  ["userinfo", but(":authority", "user@a.example")],
  ["userinfo with a password", but(":authority", "user:pw@a.example")],
  ["a path in :authority", but(":authority", "a.example/b")],
  ["two hosts in :authority", but(":authority", "a.example,b.example")],
  ["a port that is none", but(":authority", "a.example:99999")],
  ["a blank in :authority", but(":authority", "a example")],
  ["a Host that is another", and(["host", "b.example"])],
  ["two Hosts", and(["host", "a.example"], ["host", "a.example"])],
  ["a Host that is none", [...without(":authority"), ["host", "a/b"]]],
  ["a length that is none", and(["content-length", "x"])],
  ["a signed length", and(["content-length", "+3"])],
  ["an empty length", and(["content-length", ""])],
  ["a list of lengths", and(["content-length", "3, 3"])],
  ["two lengths that agree", and(["content-length", "0"], ["content-length", "0"])],
  ["a length and no body", and(["content-length", "3"])],
  ["CONNECT with :path", [...CONNECT, [":path", "/"]]],
  ["CONNECT with :scheme", [...CONNECT, [":scheme", "https"]]],
  [
    "CONNECT without :authority",
    [
      [":method", "CONNECT"],
      ["host", "a.example:443"],
    ],
  ],
  [
    "CONNECT without a port",
    [
      [":method", "CONNECT"],
      [":authority", "a.example"],
    ],
  ],
  ["CONNECT with a length", [...CONNECT, ["content-length", "0"]]],
  [":protocol without CONNECT", [[":protocol", "websocket"], ...PSEUDO]],
  [":protocol without :scheme", EXTENDED.filter(([name]) => name !== ":scheme")],
  [":protocol without :path", EXTENDED.filter(([name]) => name !== ":path")],
  [":protocol without :authority", EXTENDED.filter(([name]) => name !== ":authority")],
  [":protocol twice", [[":protocol", "websocket"], ...EXTENDED]],
  [":protocol, empty", EXTENDED.map(([name, value]) => [name, name === ":protocol" ? "" : value])],
  [
    ":protocol that is none",
    EXTENDED.map(([name, value]) => [name, name === ":protocol" ? "a b" : value]),
  ],
  [":protocol h2c", EXTENDED.map(([name, value]) => [name, name === ":protocol" ? "h2c" : value])],
  ["extended CONNECT with a length", [...EXTENDED, ["content-length", "0"]]],
];

/** Well-formed, and answered with a status. */
const ANSWERED: ReadonlyArray<readonly [why: string, pairs: Pairs, kind: string]> = [
  ["TRACE", but(":method", "TRACE"), "method_refused"],
  ["another expectation", and(["expect", "200-ok"]), "expectation_refused"],
  ["two expectations", and(["expect", "100-continue"], ["expect", "x"]), "expectation_refused"],
  ["CONNECT to elsewhere than Host", [...CONNECT, ["host", "b.example:443"]], "misdirected"],
];

describe("HTTP/2 requests", () => {
  for (const [why, pairs] of REFUSED) {
    it(`refuses ${why}`, () => {
      const head = request(pairs);
      assert.ok(isRefused(head), JSON.stringify(head));
      assert.equal(head.kind, "bad_request");
    });
  }
  for (const [why, pairs, kind] of ANSWERED) {
    it(`answers ${why}`, () => {
      const head = request(pairs);
      assert.ok(isRefused(head), JSON.stringify(head));
      assert.equal(head.kind, kind);
    });
  }

  it("reads a head as HTTP/1 would", () => {
    assert.deepEqual(good(and(["accept", "*/*"], ["x-empty", ""], ["x-tab", "a\tb \xe9"])), {
      method: "GET",
      target: "/x?y",
      authority: "a.example",
      fields: ["accept", "*/*", "x-empty", "", "x-tab", "a\tb \xe9"],
      body: 0,
      upgrade: undefined,
      takesTrailers: false,
    });
  });

  it("judges each byte of a value as HTTP/1 does", () => {
    for (let byte = 0; byte < 256; byte++) {
      const value = `a${String.fromCharCode(byte)}b`;
      assert.equal(isRefused(request(and(["x-own", value]))), hasStrayBytes(value), `${byte}`);
    }
  });

  it("takes a target that is too long for what it is", () => {
    const block = blockOf(but(":path", "/long"));
    const read = (targetBytesMax: number) => readRequest(block, true, { targetBytesMax });
    assert.ok(!isRefused(read(5)));
    const refused = read(4);
    assert.equal(isRefused(refused) && refused.kind, "target_too_long");
  });

  it("says how the body is framed", () => {
    assert.equal(good(PSEUDO, true).body, 0);
    assert.equal(good(PSEUDO, false).body, BODY_UNKNOWN);
    assert.equal(good(and(["content-length", "12"]), false).body, 12);
    assert.equal(good(and(["content-length", "0"]), true).body, 0);
    assert.equal(good(and(["content-length", "0"]), false).body, 0);
  });

  it("takes the authority from Host where there is no other, in lower case", () => {
    assert.equal(
      good([...without(":authority"), ["host", "B.example:80"]]).authority,
      "b.example:80",
    );
    assert.equal(
      good([...but(":authority", "A.Example"), ["host", "a.eXample"]]).authority,
      "a.example",
    );
    assert.equal(good(but(":authority", "[::1]:80")).authority, "[::1]:80");
  });

  it("asks about a server as a whole", () => {
    const head = good(
      PSEUDO.map(([n, v]) => [n, n === ":path" ? "*" : n === ":method" ? "OPTIONS" : v]),
    );
    assert.equal(head.target, "*");
  });

  it("joins cookies, where the first was", () => {
    const { fields } = good(
      and(["cookie", "a=1"], ["accept", "x"], ["cookie", "b=2"], ["cookie", "c=3"]),
    );
    assert.deepEqual(fields, ["cookie", "a=1; b=2; c=3", "accept", "x"]);
  });

  it("keeps fields of one hop to itself, and forged ones out", () => {
    const head = good(
      and(["te", "trailers"], ["x_forwarded_for", "1.2.3.4"], ["http2-settings", "x"]),
    );
    assert.deepEqual(head.fields, []);
    assert.equal(head.takesTrailers, true);
  });

  it("passes an expectation on", () => {
    assert.deepEqual(good(and(["expect", "100-continue"]), false).fields, [
      "expect",
      "100-continue",
    ]);
  });

  it("reads CONNECT", () => {
    const head = good([...CONNECT, ["host", "a.example:443"]], false);
    assert.equal(head.method, "CONNECT");
    assert.equal(head.target, "a.example:443");
    assert.equal(head.authority, "a.example:443");
    assert.equal(head.body, 0);
  });

  it("reads an extended CONNECT as what it is in HTTP/1", () => {
    const head = good([...EXTENDED, ["sec-websocket-version", "13"]], false);
    assert.equal(head.method, "GET");
    assert.equal(head.target, "/chat");
    assert.equal(head.upgrade, "websocket");
    assert.equal(head.body, 0);
  });

  it("leaves nothing of one head in the next", () => {
    good([...EXTENDED, ["te", "trailers"], ["expect", "100-continue"]], false);
    assert.deepEqual(good(PSEUDO), {
      method: "GET",
      target: "/x?y",
      authority: "a.example",
      fields: [],
      body: 0,
      upgrade: undefined,
      takesTrailers: false,
    });
  });
});

const OK: Pairs = [[":status", "200"]];
const answer = (pairs: Pairs, endStream = true, method = "GET", upgrade?: string) =>
  readAnswer(blockOf(pairs), endStream, method, upgrade);
const goodAnswer = (...asked: Parameters<typeof answer>): AnswerHead => {
  const head = answer(...asked);
  assert.ok(!isRefused(head), JSON.stringify(head));
  return head;
};

const REFUSED_ANSWERS: ReadonlyArray<readonly [why: string, pairs: Pairs]> = [
  ["no :status", [["server", "x"]]],
  ["two :status", [...OK, ...OK]],
  [":status behind others", [["server", "x"], ...OK]],
  [":method in an answer", [...OK, [":method", "GET"]]],
  [":path in an answer", [...OK, [":path", "/"]]],
  ["a pseudo-field that nobody knows", [...OK, [":foo", "x"]]],
  ["101", [[":status", "101"]]],
  ["a status of two digits", [[":status", "20"]]],
  ["a status of four digits", [[":status", "2000"]]],
  ["a status that is no number", [[":status", "2x0"]]],
  ["an empty status", [[":status", ""]]],
  ["a signed status", [[":status", "+20"]]],
  ["a status below 100", [[":status", "099"]]],
  ["a status beyond 599", [[":status", "600"]]],
  ["an interim answer that ends its stream", [[":status", "103"]]],
  [
    "a body of a 204",
    [
      [":status", "204"],
      ["content-length", "3"],
    ],
  ],
  [
    "a body of a 205",
    [
      [":status", "205"],
      ["content-length", "3"],
    ],
  ],
  ["a capital in a name", [...OK, ["Server", "x"]]],
  ["CRLF in a value", [...OK, ["server", "x\r\ny: z"]]],
  ["Connection", [...OK, ["connection", "close"]]],
  ["Transfer-Encoding", [...OK, ["transfer-encoding", "chunked"]]],
  ["Upgrade", [...OK, ["upgrade", "websocket"]]],
  ["Keep-Alive", [...OK, ["keep-alive", "timeout=5"]]],
  ["two lengths", [...OK, ["content-length", "0"], ["content-length", "0"]]],
  ["a length that is none", [...OK, ["content-length", "0x3"]]],
  ["a length and no body", [...OK, ["content-length", "3"]]],
];

describe("HTTP/2 answers", () => {
  for (const [why, pairs] of REFUSED_ANSWERS) {
    it(`refuses ${why}`, () => {
      const head = answer(pairs);
      assert.ok(isRefused(head), JSON.stringify(head));
      assert.equal(head.kind, "bad_answer");
    });
  }

  it("refuses 101, which is of HTTP/1 alone", () => {
    assert.ok(isRefused(answer([[":status", "101"]], false)));
    assert.ok(isRefused(answer([[":status", "101"]], false, "GET", "websocket")));
    assert.equal(goodAnswer([[":status", "103"]], false).status, 103);
  });

  it("reads a head as HTTP/1 would", () => {
    assert.deepEqual(
      goodAnswer([...OK, ["content-length", "3"], ["set-cookie", "a"], ["set-cookie", "b"]], false),
      {
        status: 200,
        reason: "",
        fields: ["set-cookie", "a", "set-cookie", "b"],
        body: 3,
        upgrade: undefined,
      },
    );
  });

  it("says how the body is framed", () => {
    const sized: Pairs = [...OK, ["content-length", "3"]];
    assert.equal(goodAnswer(OK, false).body, BODY_UNKNOWN);
    assert.equal(goodAnswer(OK, true).body, 0);
    assert.equal(goodAnswer([[":status", "204"]], false).body, 0);
    assert.equal(goodAnswer([[":status", "103"]], false).body, 0);
    const head = goodAnswer(sized, true, "HEAD");
    assert.equal(head.body, 0);
    assert.deepEqual(head.fields, ["content-length", "3"]);
    const unchanged = goodAnswer(
      [
        [":status", "304"],
        ["content-length", "3"],
      ],
      true,
    );
    assert.equal(unchanged.body, 0);
    assert.deepEqual(unchanged.fields, ["content-length", "3"]);
    assert.deepEqual(goodAnswer(sized, false, "CONNECT").fields, []);
  });

  it("reads the answer to an extended CONNECT as HTTP/1 would have it", () => {
    const switched = goodAnswer(OK, false, "GET", "websocket");
    assert.equal(switched.status, 101);
    assert.equal(switched.upgrade, "websocket");
    assert.equal(switched.body, 0);
    const refused = goodAnswer([[":status", "403"]], false, "GET", "websocket");
    assert.equal(refused.status, 403);
    assert.equal(refused.upgrade, undefined);
    assert.equal(refused.body, BODY_UNKNOWN);
  });
});

const REFUSED_TRAILERS: ReadonlyArray<readonly [why: string, pairs: Pairs]> = [
  ["a pseudo-field", [[":status", "200"]]],
  ["one that nobody knows", [[":foo", "x"]]],
  ["a capital", [["X-Sum", "x"]]],
  ["Connection", [["connection", "close"]]],
  ["Transfer-Encoding", [["transfer-encoding", "chunked"]]],
  ["a length", [["content-length", "3"]]],
  ["a Host", [["host", "a"]]],
  ["a line feed", [["x-sum", "a\nb"]]],
];

describe("HTTP/2 trailers", () => {
  for (const [why, pairs] of REFUSED_TRAILERS) {
    it(`refuses ${why}`, () => {
      const trailers = readTrailers(blockOf(pairs), "bad_answer");
      assert.ok(isRefused(trailers));
      assert.equal(trailers.kind, "bad_answer");
    });
  }

  it("keeps what may stand there", () => {
    const pairs: Pairs = [
      ["grpc-status", "0"],
      ["cookie", "a"],
      ["x-mesh-path", "b"],
      ["x-sum", "c"],
    ];
    assert.deepEqual(readTrailers(blockOf(pairs), "bad_request"), [
      "grpc-status",
      "0",
      "x-sum",
      "c",
    ]);
    assert.equal(readTrailers(blockOf([["cookie", "a"]]), "bad_request"), undefined);
    assert.equal(readTrailers(blockOf([]), "bad_request"), undefined);
  });
});
