import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type CanonicalRequest, readCanonical } from "#test/kit/canonical.ts";
import { simpleSnapshot, startPlane } from "#test/kit/proxy.ts";
import { RawClient, RawOrigin } from "#test/kit/raw.ts";

/*
 * The ground that public collections of request smuggling cover (smuggler, HTTP Request Smuggler, HTTP
 * Garden, http-desync-guardian), made anew: each way to disguise what frames a message, at each place, by
 * each byte. What reaches the endpoint must be readable in one way only, and no request of it may be one
 * that the client hid in another.
 */

interface Attack {
  readonly what: string;
  readonly bytes: string;
}

/** What would be a request of its own to whoever believes the other length. */
const HIDDEN = "GET /smuggled-0000 HTTP/1.1\r\nhost: a\r\n\r\n";
/** The same where it is honestly the next one, if what stands before is read as it is written. */
const NEXT = HIDDEN.replace("smuggled", "followed");
const CHUNKED_THEN_HIDDEN = `0\r\n\r\n${HIDDEN}`;
/** The bytes that tools try: controls, blanks, and all that is beyond ASCII. */
const BYTES = [...Array(0x21).keys(), ...Array.from({ length: 0x81 }, (_, i) => 0x7f + i)].map(
  (code) => String.fromCharCode(code),
);

/** A request whose head has these lines beside the usual ones. */
function post(what: string, lines: string, body: string, method = "POST"): Attack {
  return { what, bytes: `${method} /outer HTTP/1.1\r\nhost: a\r\n${lines}\r\n\r\n${body}` };
}

/** Nobody takes these for anything but fields like others: an odd value, or another name. */
function isOrdinary(lines: string): boolean {
  return lines.split("\r\n").every((line) => {
    const [, name] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t -~\x80-\xff]*$/.exec(line) ?? [];
    return name !== undefined && !/^(?:content[-_]length|transfer[-_]encoding)$/i.test(name);
  });
}

/** A disguised `Transfer-Encoding` beside a good length, and the other way round. */
function disguised(what: string, coding: string): Attack[] {
  const length = `content-length: ${CHUNKED_THEN_HIDDEN.length}`;
  const lengthLine = coding
    .replace(/transfer([^a-z]{1,3})encoding/gi, "Content$1Length")
    .replace("chunked", String(HIDDEN.length));
  const then = isOrdinary(lengthLine) ? NEXT : HIDDEN;
  return [
    post(`${what}, then a length`, `${coding}\r\n${length}`, CHUNKED_THEN_HIDDEN),
    post(`a length, then ${what}`, `${length}\r\n${coding}`, CHUNKED_THEN_HIDDEN),
    post(`${what} alone`, coding, `0\r\n\r\n${NEXT}`),
    post(`${what} as a length`, lengthLine, then),
    post(
      `${what} as a length, and chunks`,
      `${lengthLine}\r\ntransfer-encoding: chunked`,
      `0\r\n\r\n${then}`,
    ),
    post(`${what} of a GET`, coding, `0\r\n\r\n${NEXT}`, "GET"),
  ];
}

const BY_BYTE = BYTES.flatMap((byte) => {
  const at = `byte ${byte.charCodeAt(0).toString(16)}`;
  return [
    ...disguised(`${at} before the value`, `Transfer-Encoding:${byte}chunked`),
    ...disguised(`${at} before the colon`, `Transfer-Encoding${byte}: chunked`),
    ...disguised(`${at} before the name`, `${byte}Transfer-Encoding: chunked`),
    ...disguised(`${at} after the value`, `Transfer-Encoding: chunked${byte}`),
    ...disguised(`${at} inside the name`, `Transfer${byte}-Encoding: chunked`),
    ...disguised(`${at} inside the value`, `Transfer-Encoding: chu${byte}nked`),
    ...disguised(`${at} between two fields`, `X: X${byte}Transfer-Encoding: chunked`),
    ...disguised(`${at} and a field after it`, `Transfer-Encoding: chunked${byte}X: X`),
    ...disguised(`CR and ${at} between two fields`, `X: X\r${byte}Transfer-Encoding: chunked`),
    ...disguised(`${at} and LF between two fields`, `X: X${byte}\nTransfer-Encoding: chunked`),
  ];
});

const NAMED = [
  "Transfer Encoding: chunked",
  "Transfer_Encoding: chunked",
  "Transfer\\Encoding: chunked",
  "Transfer-Encoding x: chunked",
  "Transfer-%45ncoding: chunked",
  "Transfer---Encoding: chunked",
  "Content-Encoding: chunked",
  "TRANSFER-ENCODING: CHUNKED",
  "Transfer-Encoding: chunked, identity",
  "Transfer-Encoding: identity, chunked",
  "Transfer-Encoding: gzip, chunked",
  "Transfer-Encoding: ,chunked",
  "Transfer-Encoding: chunked,",
  "Transfer-Encoding: identity",
  "Transfer-Encoding: xchunked",
  "Transfer-Encoding: chunk",
  'Transfer-Encoding: "chunked"',
  "Transfer-Encoding: 'chunked'",
  "Transfer-Encoding: chunked;q=1",
  "Transfer-Encoding:",
  "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
  "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
  "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
  "Transfer-Encoding:\r\n chunked",
  "Transfer-Encoding:\n chunked",
  "Transfer-\r\nEncoding: chunked",
  "Transfer-Encoding\r\n: chunked",
  "Transfer-Encoding\n: chunked",
  "Foo: bar\r\n Transfer-Encoding: chunked",
  "Foo: bar\r\n\tTransfer-Encoding: chunked",
  "Foo: bar\r\n\rTransfer-Encoding: chunked",
  "Foo: bar\n\nTransfer-Encoding: chunked",
  "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
  "Connection: Content-Length\r\nTransfer-Encoding: chunked",
  ":Transfer-Encoding: chunked",
  " : chunked",
].flatMap((line) => disguised(JSON.stringify(line), line));

const LENGTHS = [
  "+5",
  "-5",
  "-0",
  "0x5",
  "5x",
  "5 5",
  "5,5",
  "5, 6",
  "1_0",
  "5.0",
  "5e0",
  "05",
  "00",
  "",
  '"5"',
  "\u00b2",
  "18446744073709551621",
  "9007199254740993",
  "4294967301",
].flatMap((value) => [
  post(`Content-Length "${value}"`, `Content-Length: ${value}`, value === "00" ? NEXT : HIDDEN),
  post(`Content-Length ${value} and 0`, `Content-Length: ${value}\r\nContent-Length: 0`, HIDDEN),
  post(`Content-Length 0 and ${value}`, `Content-Length: 0\r\nContent-Length: ${value}`, HIDDEN),
]);

const chunks = (what: string, body: string, then = HIDDEN): Attack =>
  post(what, "transfer-encoding: chunked", `${body}${then}`);

/** Line ends that some take for one (the funky chunks of 2025), sizes and extensions. */
const ENDS = ["\n", "\r", "", "XX", "\rX", "\r\r", "\n\n", "\n\r", "\x0b", "\x85", "\u0000"];
/** Those that are good in an extension. */
const HARMLESS = ["", "XX", "\x85"];
const CHUNKS = [
  ...ENDS.flatMap((end) => {
    const shown = JSON.stringify(end);
    const then = HARMLESS.includes(end) ? NEXT : HIDDEN;
    return [
      chunks(`an extension that ends with ${shown}`, `2;${end}xx\r\n45\r\n0\r\n\r\n`, then),
      chunks(`an extension with ${shown} in it`, `2;a${end}b\r\nxx\r\n0\r\n\r\n`, then),
      chunks(
        `${shown} before an extension`,
        `2${end};a\r\nxx\r\n0\r\n\r\n`,
        end === "" ? NEXT : HIDDEN,
      ),
      chunks(`a chunk that ends with ${shown}`, `2\r\nxx${end}0\r\n\r\n`),
      chunks(`a longer chunk that ends with ${shown}`, `5\r\nABCDE${end}1a\r\n0\r\n\r\n`),
      chunks(`a size that ends with ${shown}`, `2${end}xx\r\n0\r\n\r\n`),
      chunks(`a last size that ends with ${shown}`, `0${end}\r\n`),
      chunks(`a body that ends with ${shown}`, `0\r\n${end}`),
      chunks(`a trailer that ends with ${shown}`, `0\r\nx: y${end}\r\n`),
      chunks(`${shown} before a size`, `${end}2\r\nxx\r\n0\r\n\r\n`, end === "" ? NEXT : HIDDEN),
    ];
  }),
  ...[
    "0x2",
    "+2",
    "-2",
    "-0x0",
    "0_2",
    "2_",
    " 2",
    "2 x",
    "2.0",
    "Z",
    "",
    "g",
    '"2"',
    "0x",
    "2\t",
  ].map((size) => chunks(`a chunk size ${JSON.stringify(size)}`, `${size}\r\nxx\r\n0\r\n\r\n`)),
  ...["ffffffffffffffff2", "10000000000000002", "100000002", "0000000000000000000002"].map((size) =>
    chunks(`a chunk size ${size}`, `${size}\r\nxx\r\n0\r\n\r\n`),
  ),
  ...[
    "Content-Length: 5",
    "Transfer-Encoding: chunked",
    "Host: b",
    "x y: z",
    "x",
    " x: y",
    ": y",
    "x : y",
  ].map((line) => chunks(`a trailer ${line}`, `0\r\n${line}\r\n\r\n`)),
  chunks("an extension without end", `2;${"x".repeat(20_000)}\r\nxx\r\n0\r\n\r\n`),
  post("a body of HTTP/1.0", "transfer-encoding: chunked", CHUNKED_THEN_HIDDEN).bytes.replace(
    "1.1",
    "1.0",
  ),
].map((attack) =>
  typeof attack === "string" ? { what: "chunks in HTTP/1.0", bytes: attack } : attack,
);

const LINES = [
  "GET /outer HTTP/1.1 ",
  "GET /outer  HTTP/1.1",
  " GET /outer HTTP/1.1",
  "GET\t/outer\tHTTP/1.1",
  "GET /outer\tHTTP/1.1",
  "GET /outer\nHTTP/1.1",
  "GET /outer\rHTTP/1.1",
  "GET /outer\x00 HTTP/1.1",
  "GET /outer HTTP/1.1\rx: y",
  "GET /outer HTTP/1.1\nx: y",
  "GET /outer HTTP/1.1\n\r\nGET /smuggled-0000 HTTP/1.1",
  "GET /outer HTTP/1.32",
  "GET /outer HTTP/4294967297.1",
  "GET /outer HTTP/01.1",
  "GET /outer HTTP/\r\r1.1",
  "GET /outer",
  'G=":<>(e),[T];?" /outer HTTP/1.1',
  "GET ! HTTP/1.1",
  "GET /outer HTTP/1.1 HTTP/1.1",
  "PRI * HTTP/2.0",
].map((line) => ({ what: `line ${JSON.stringify(line)}`, bytes: `${line}\r\nhost: a\r\n\r\n` }));

/** What is plain, and yet makes a hidden request of its body for servers that do not read one. */
const PLAIN = ["GET", "HEAD", "OPTIONS", "DELETE", "POST"].flatMap((method) => [
  post(`${method} with a body`, `content-length: ${HIDDEN.length}`, HIDDEN, method),
  post(
    `${method} with chunks`,
    "transfer-encoding: chunked",
    `${HIDDEN.length.toString(16)}\r\n${HIDDEN}\r\n0\r\n\r\n`,
    method,
  ),
  post(
    `${method} that expects`,
    `expect: 100-continue\r\ncontent-length: ${HIDDEN.length}`,
    HIDDEN,
    method,
  ),
  post(`${method} that upgrades`, "connection: upgrade\r\nupgrade: h2c", "", method),
]);

const EMPTY = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

describe("smuggled requests", { timeout: 300_000 }, () => {
  /** Runs all at once, a few at a time. What reached the endpoint, by connection. */
  async function run(
    attacks: readonly Attack[],
  ): Promise<{ requests: CanonicalRequest[]; told: string[] }> {
    const told: string[] = [];
    const origin = new RawOrigin((socket, nth) => {
      let answered = 0;
      socket.on("data", () => {
        try {
          const { length } = readCanonical(origin.said[nth]!);
          for (; answered < length; answered++) socket.write(EMPTY);
        } catch (error) {
          told.push(`${(error as Error).message} in ${JSON.stringify(origin.said[nth])}`);
          socket.destroy();
        }
      });
      socket.on("end", () => socket.end());
    });
    const { plane, port } = await startPlane(simpleSnapshot([await origin.start()]));
    const queue = [...attacks];
    const work = async (): Promise<void> => {
      for (let attack = queue.pop(); attack !== undefined; attack = queue.pop()) {
        // Of the same length, so that no length changes.
        const bytes = attack.bytes.replace("-0000", `-${String(queue.length).padStart(4, "0")}`);
        const client = new RawClient(port, bytes);
        client.socket.end();
        const said = await client.rest();
        if (!said.startsWith("HTTP/1.1 ")) told.push(`${attack.what}: ${JSON.stringify(said)}`);
      }
    };
    try {
      await Promise.all(Array.from({ length: 16 }, work));
    } finally {
      await plane.drain(0);
      origin.stop();
    }
    const requests = told.length > 0 ? [] : origin.said.flatMap(readCanonical);
    return { requests, told };
  }

  const SETS: ReadonlyArray<readonly [string, readonly Attack[]]> = [
    ["framing fields disguised by a byte", BY_BYTE],
    ["framing fields disguised by name, list, fold or copy", NAMED],
    ["lengths that are none", LENGTHS],
    ["chunks that are none", CHUNKS],
    ["lines that are none", LINES],
    ["bodies where some expect none", PLAIN],
  ];
  for (const [what, attacks] of SETS) {
    it(`${what}: ${attacks.length} cases, none gets through`, async () => {
      const { requests, told } = await run(attacks);
      for (const { target } of requests) {
        const hidden = /^\/smuggled-(\d+)$/.exec(target);
        if (hidden !== null) told.push(JSON.stringify(attacks[Number(hidden[1])]));
      }
      assert.deepEqual(told, []);
    });
  }
});
