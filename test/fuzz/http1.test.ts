import assert from "node:assert/strict";
import { createServer, type IncomingMessage } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { after, before, describe, it } from "node:test";
import { type Rng, seededRng } from "#kernel/rng.ts";
import { BODY_UNKNOWN } from "#proxy/exchange/exchange.ts";
import { HTTP1_LIMITS } from "#proxy/http1/limits.ts";
import { isFailure, type ParsedRequest, parseRequest } from "#proxy/http1/parser_head.ts";

/** `FUZZ_CASES=100000 FUZZ_FROM=1` for a longer run. */
const CASES = Number(process.env["FUZZ_CASES"] ?? 3_000);
const FROM = Number(process.env["FUZZ_FROM"] ?? 1);

const LINES = [
  "GET / HTTP/1.1",
  "POST /a?b=c HTTP/1.1",
  "GET http://shop.example/x HTTP/1.1",
  "OPTIONS * HTTP/1.1",
  "PUT /%2e%2e/x HTTP/1.0",
];
const FIELDS = [
  "Host: shop.example",
  "Content-Length: 3",
  "Transfer-Encoding: chunked",
  "Connection: close",
  "Connection: keep-alive, x-a",
  "X-A: one, two",
  "Expect: 100-continue",
  "Cookie: a=b; c=d",
];
const NASTY = [
  "\r",
  "\n",
  "\r\n",
  "\0",
  " ",
  "\t",
  ":",
  ",",
  "\x7f",
  "\x80",
  "\xff",
  "\x0b",
  ";",
  "0",
  "+",
  "-",
  "x",
  "@",
  "/",
  "\r\n ",
  "chunked",
  "3",
];

/** A request that is nearly one. */
function nearly(rng: Rng): string {
  const lines = [LINES[rng.below(LINES.length)]!];
  for (let i = rng.below(5); i >= 0; i--) lines.push(FIELDS[rng.below(FIELDS.length)]!);
  let text = lines.join("\r\n");
  for (let i = rng.below(4); i > 0; i--) {
    const at = rng.below(text.length);
    const cut = rng.below(3);
    text = text.slice(0, at) + NASTY[rng.below(NASTY.length)]! + text.slice(at + cut);
  }
  return text;
}

describe("request heads that are nearly right", { timeout: 120_000 }, () => {
  /** What `node:http` makes of a head; undefined if it refuses it. */
  let seen: IncomingMessage | undefined;
  let refused = false;
  const server = createServer((request, response) => {
    seen = request;
    response.end();
    request.resume();
  });
  server.on("checkContinue", (request, response) => {
    seen = request;
    response.end();
  });
  server.on("clientError", (_error, socket) => {
    refused = true;
    socket.destroy();
  });
  before(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve)));
  after(() => {
    server.closeAllConnections();
    server.close();
  });

  function readByNode(head: string): Promise<IncomingMessage | undefined> {
    seen = undefined;
    refused = false;
    return new Promise((resolve) => {
      const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
      socket.on("error", () => {});
      socket.on("close", () => resolve(refused ? undefined : seen));
      socket.on("data", () => socket.destroy());
      socket.end(Buffer.from(`${head}\r\n\r\n`, "latin1"));
    });
  }

  it("are refused, or read as another strict parser reads them", async () => {
    let accepted = 0;
    for (let seed = FROM; seed < FROM + CASES; seed++) {
      const text = nearly(seededRng(seed));
      // A head with an empty line in it ends there.
      const head = text.split("\r\n\r\n", 1)[0]!;
      const ours = parseRequest(head, HTTP1_LIMITS);
      if (isFailure(ours)) continue;
      accepted++;
      // One in three goes over a socket: those that we accept are the ones that matter.
      if (accepted % 3 !== 0) continue;
      const theirs = await readByNode(head);
      if (theirs === undefined) continue;
      const says = `seed ${seed}: ${JSON.stringify(head)}`;
      const { method, target, body } = (ours as ParsedRequest).head;
      assert.equal(method, theirs.method, says);
      const url = theirs.url!.replace(/^https?:\/\/[^/?]*/i, "");
      assert.equal(target, url.startsWith("/") || url === "*" ? url : `/${url}`, says);
      const chunked = theirs.headers["transfer-encoding"] !== undefined;
      const length = Number(theirs.headers["content-length"] ?? 0);
      assert.equal(body, chunked ? BODY_UNKNOWN : length, says);
    }
    assert.ok(accepted > CASES / 20, `only ${accepted} were accepted: the cases are too wild`);
  });

  it("never leave anything in what is passed on that a reader could take for a line", () => {
    for (let seed = FROM; seed < FROM + 10 * CASES; seed++) {
      const head = nearly(seededRng(seed)).split("\r\n\r\n", 1)[0]!;
      const ours = parseRequest(head, HTTP1_LIMITS);
      if (isFailure(ours)) continue;
      const { method, target, authority, fields } = (ours as ParsedRequest).head;
      for (const text of [method, target, authority, ...fields]) {
        assert.doesNotMatch(text, /[\r\n\0]/, `seed ${seed}: ${JSON.stringify(head)}`);
      }
      for (let i = 0; i < fields.length; i += 2) {
        assert.match(fields[i]!, /^[!#$%&'*+.^_`|~0-9a-z-]+$/, `seed ${seed}`);
        const framing = ["content-length", "transfer-encoding", "connection", "host"];
        assert.ok(!framing.includes(fields[i]!), `seed ${seed}: ${fields[i]}`);
      }
    }
  });
});
