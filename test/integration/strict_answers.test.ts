import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, it } from "node:test";
import { CONNECTION_LIMITS } from "#proxy/exchange/limits.ts";
import { rawExchange } from "#test/kit/http.ts";
import { until } from "#test/kit/processes.ts";
import { counterOf, simpleSnapshot, startPlane } from "#test/kit/proxy.ts";
import { Recorder } from "#test/kit/recorder.ts";

const lines = (...all: readonly string[]): string => `${all.join("\r\n")}\r\n\r\n`;
/** A 200 with these fields, then a body that no client may see. */
const ok = (...fields: readonly string[]): string => lines("HTTP/1.1 200 OK", ...fields) + SECRET;
const chunked = (body: string): string =>
  lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + body;
const status = (line: string): string => lines(line, "Content-Length: 6") + SECRET;
/** Stands where nothing may pass on. */
const SECRET = "SECRET";
const GOOD = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";

/** Not a byte of these may reach a client: it gets 502 instead. */
const REFUSED: ReadonlyArray<readonly [why: string, bytes: string]> = [
  ["CL and TE", ok("Content-Length: 6", "Transfer-Encoding: chunked")],
  ["TE and CL", ok("Transfer-Encoding: chunked", "Content-Length: 6")],
  ["two equal lengths", ok("Content-Length: 6", "Content-Length: 6")],
  ["two lengths", ok("Content-Length: 6", "Content-Length: 5")],
  ["lengths in a list", ok("Content-Length: 6, 6")],
  ["an empty length", ok("Content-Length:")],
  ["a signed length", ok("Content-Length: +6")],
  ["a negative length", ok("Content-Length: -6")],
  ["a hexadecimal length", ok("Content-Length: 0x6")],
  ["a length with a fraction", ok("Content-Length: 6.0")],
  ["a length beyond 2^53", ok("Content-Length: 9007199254740993")],
  ["a length with an underscore", ok("Content_Length: 6")],
  ["TE: gzip", ok("Transfer-Encoding: gzip")],
  ["TE: identity", ok("Transfer-Encoding: identity")],
  ["TE: gzip, chunked", ok("Transfer-Encoding: gzip, chunked")],
  ["TE: chunked, gzip", ok("Transfer-Encoding: chunked, gzip")],
  ["TE: nothing", ok("Transfer-Encoding:")],
  ["TE: xchunked", ok("Transfer-Encoding: xchunked")],
  ["TE twice", ok("Transfer-Encoding: chunked", "Transfer-Encoding: chunked")],
  ["TE with a vertical tab", ok("Transfer-Encoding: \x0bchunked")],
  ["a tab before a coding", ok("Transfer-Encoding:\tchunked")],
  ["a tab behind a coding", ok("Transfer-Encoding: chunked\t")],
  ["a tab before a length", ok("Content-Length:\t6")],
  ["a tab behind a length", ok("Content-Length: 6 \t")],
  ["TE in HTTP/1.0", lines("HTTP/1.0 200 OK", "Transfer-Encoding: chunked") + SECRET],
  ["lines ended by LF", `HTTP/1.1 200 OK\nContent-Length: 6\n\n${SECRET}`],
  ["a field ended by LF", ok("X: a\nContent-Length: 6")],
  ["a field ended by CR", ok("X: a\rContent-Length: 6")],
  ["a head ended by LF", `HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\n${SECRET}`],
  ["a head ended by CR CR LF", `HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\r\n${SECRET}`],
  ["a fold", ok("Content-Length: 6", "X: a", " b")],
  ["a fold as the first field", ok(" X: a", "Content-Length: 6")],
  ["a blank before the colon", ok("Content-Length : 6")],
  ["a tab before the colon", ok("Content-Length\t: 6")],
  ["no colon", ok("Content-Length: 6", "X")],
  ["an empty name", ok("Content-Length: 6", ": a")],
  ["a name that is no token", ok("Content-Length: 6", "X(Y): a")],
  ["a name beyond ASCII", ok("Content-Length: 6", "X\xe4: a")],
  ["a NUL in a value", ok("Content-Length: 6", "X: \0")],
  ["a NUL in a name", ok("Content-Length: 6", "X\0: a")],
  ["DEL in a value", ok("Content-Length: 6", "X: \x7f")],
  ["a control character in the reason", status("HTTP/1.1 200 \x01")],
  ["too large a head", ok(`X: ${"y".repeat(70_000)}`)],
  ["too many fields", ok("Content-Length: 6", ...Array<string>(200).fill("X: y"))],
  ["an empty line before", `\r\n${GOOD}`],
  ["HTTP/0.9", SECRET],
  ["HTTP/2", status("HTTP/2 200 OK")],
  ["HTTP/2.0", status("HTTP/2.0 200 OK")],
  ["HTTP/1.2", status("HTTP/1.2 200 OK")],
  ["HTTP/1.10", status("HTTP/1.10 200 OK")],
  ["HTTP/01.1", status("HTTP/01.1 200 OK")],
  ["http/1.1", status("http/1.1 200 OK")],
  ["ICY", status("ICY 200 OK")],
  ["another protocol", `SSH-2.0-${SECRET}\r\n`],
  ["no status", status("HTTP/1.1 OK")],
  ["two digits", status("HTTP/1.1 20 OK")],
  ["four digits", status("HTTP/1.1 2000 OK")],
  ["a status with an exponent", status("HTTP/1.1 2e2 OK")],
  ["a hexadecimal status", status("HTTP/1.1 0xC OK")],
  ["a signed status", status("HTTP/1.1 +20 OK")],
  ["status 99", status("HTTP/1.1 099 OK")],
  ["status 600", status("HTTP/1.1 600 OK")],
  ["two blanks in the status line", status("HTTP/1.1  200 OK")],
  ["a tab in the status line", status("HTTP/1.1\t200 OK")],
  ["a status without a blank behind", status("HTTP/1.1 200OK")],
  [
    "a switch that nobody asked for",
    lines("HTTP/1.1 101 x", "Connection: upgrade", "Upgrade: x") + SECRET,
  ],
  ["an interim answer with a length", lines("HTTP/1.1 103 x", "Content-Length: 6") + SECRET],
  ["an interim answer in chunks", lines("HTTP/1.1 100 x", "Transfer-Encoding: chunked") + SECRET],
  ["204 with a length", lines("HTTP/1.1 204 x", "Content-Length: 6") + SECRET],
  [
    "204 in chunks",
    `${lines("HTTP/1.1 204 x", "Transfer-Encoding: chunked")}6\r\n${SECRET}\r\n0\r\n\r\n`,
  ],
  ["205 with a length", lines("HTTP/1.1 205 x", "Content-Length: 6") + SECRET],
];

const SHORT = lines("HTTP/1.1 200 OK", "Content-Length: 9");
/** Their head was good and may have gone out: the client must be able to tell that the rest did not. */
const CUT: ReadonlyArray<readonly [why: string, bytes: string, ends?: boolean]> = [
  ["a body shorter than its length", `${SHORT}short`, true],
  ["no body where a length says one", SHORT, true],
  ["a chunk that is cut", chunked("9\r\nshort"), true],
  ["no last chunk", chunked("5\r\nshort\r\n"), true],
  ["a last chunk that is cut", chunked("5\r\nshort\r\n0\r\n"), true],
  ["trailers that are cut", chunked("5\r\nshort\r\n0\r\nX: a\r\n"), true],
  ["a chunk of no size", chunked(`5\r\nshort\r\n\r\n${SECRET}\r\n0\r\n\r\n`)],
  ["a signed chunk", chunked(`5\r\nshort\r\n+6\r\n${SECRET}\r\n0\r\n\r\n`)],
  ["a chunk with 0x", chunked(`5\r\nshort\r\n0x6\r\n${SECRET}\r\n0\r\n\r\n`)],
  ["a chunk beyond 2^53", chunked(`5\r\nshort\r\n20000000000001\r\n${SECRET}`)],
  ["a size ended by LF", chunked(`5\r\nshort\r\n6\n${SECRET}\r\n0\r\n\r\n`)],
  ["a size with a blank", chunked(`5\r\nshort\r\n6 \r\n${SECRET}\r\n0\r\n\r\n`)],
  ["a chunk ended by LF", chunked(`5\r\nshort\n6\r\n${SECRET}\r\n0\r\n\r\n`)],
  ["a chunk longer than it says", chunked(`5\r\nshortX\r\n6\r\n${SECRET}\r\n0\r\n\r\n`)],
  ["a bad extension", chunked(`5\r\nshort\r\n6;\n${SECRET}\r\n0\r\n\r\n`)],
  ["a bad trailer", chunked("5\r\nshort\r\n0\r\nX : a\r\n\r\n")],
  ["a length as a trailer", chunked("5\r\nshort\r\n0\r\nContent-Length: 5\r\n\r\n")],
  ["a NUL in a trailer", chunked("5\r\nshort\r\n0\r\nX: \0\r\n\r\n")],
];

/** More than one answer for one request: the first is whole, the rest is nobody's. */
const BEYOND: ReadonlyArray<readonly [why: string, bytes: string, method?: string]> = [
  ["a second answer", GOOD + ok("Content-Length: 6")],
  ["bytes behind a body", GOOD + SECRET],
  ["a body of HEAD", lines("HTTP/1.1 200 OK", "Content-Length: 6") + SECRET, "HEAD"],
  ["a body of 204", lines("HTTP/1.1 204 No Content") + SECRET],
  ["a body of 304", lines("HTTP/1.1 304 Not Modified", "Content-Length: 6") + SECRET],
  ["a body of 205", lines("HTTP/1.1 205 Reset Content", "Content-Length: 0") + SECRET],
  ["bytes behind the last chunk", chunked(`4\r\ngood\r\n0\r\n\r\n${SECRET}`)],
];

describe("answers that must not pass", { timeout: 60_000 }, () => {
  const endpoint = new Recorder();
  let plane: Awaited<ReturnType<typeof startPlane>>["plane"];
  let port: number;
  /** What the endpoint says to each request, and whether it ends its side then. */
  let answer: string;
  let ends = false;

  before(async () => {
    endpoint.onData = (socket, said) => {
      if (!said.endsWith("\r\n\r\n")) return;
      socket.write(Buffer.from(answer, "latin1"));
      if (ends) socket.end();
    };
    ({ plane, port } = await startPlane(simpleSnapshot([await endpoint.start()])));
  });
  after(async () => {
    await plane.drain(0);
    await endpoint.stop();
  });

  /** A request of its own connection, which it asks to be closed. */
  function ask(method = "POST"): Promise<string> {
    const text = `${method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n`;
    return rawExchange(
      port,
      `${text}${method === "POST" ? "Content-Length: 0\r\n" : ""}\r\n`,
      5_000,
    );
  }

  /** Whoever asks next gets what was meant for them, over another connection. */
  async function nextIsGood(): Promise<void> {
    const before = endpoint.connections;
    answer = GOOD;
    ends = false;
    assert.match(await ask(), /^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\ngood$/);
    assert.equal(endpoint.connections, before + 1, "the connection was used again");
    // So that each row begins with a connection of its own.
    for (const socket of endpoint.sockets) socket.destroy();
    await until("none is left", async () => (await upstreamConnections()) === 0);
  }

  async function upstreamConnections(): Promise<number> {
    return counterOf(await plane.metricsText(), "espalier_upstream_connections");
  }

  async function failures(reason: string): Promise<number> {
    const name = "espalier_failures_total";
    return counterOf(await plane.metricsText(), name, `kind="${reason}"`);
  }

  for (const [why, bytes] of REFUSED) {
    it(`become 502: ${why}`, async () => {
      const before = await failures("bad_answer");
      answer = bytes;
      ends = false;
      const said = await ask();
      assert.match(said, /^HTTP\/1\.1 502 Bad Gateway\r\n/);
      assert.match(said, /\r\nproxy-status: core\.acme\.mesh; error=http_protocol_error\r\n/);
      assert.match(said, /\r\n\r\n502 bad_answer\n$/);
      assert.doesNotMatch(said, new RegExp(SECRET));
      assert.equal(await failures("bad_answer"), before + 1);
      await nextIsGood();
    });
  }

  it("become 502 after so many interim ones", async () => {
    answer = "HTTP/1.1 102 Processing\r\n\r\n".repeat(CONNECTION_LIMITS.interimMax + 1) + GOOD;
    const said = await ask();
    const interims = said.match(/HTTP\/1\.1 102 /g)!.length;
    assert.equal(interims, CONNECTION_LIMITS.interimMax);
    assert.match(said, /\r\n\r\nHTTP\/1\.1 502 [\s\S]*502 bad_answer\n$/);
    await nextIsGood();
  });

  for (const [why, bytes, cut = false] of CUT) {
    it(`are seen to be cut: ${why}`, async () => {
      const before = await failures("answer_truncated");
      answer = bytes;
      ends = cut;
      const said = await ask();
      assert.doesNotMatch(said, new RegExp(`${SECRET}|HTTP/1.1 502`));
      const [head = "", body = ""] = said.split("\r\n\r\n", 2);
      if (/content-length: 9/.test(head)) assert.ok(body.length < 9, said);
      else assert.ok(!said.endsWith("0\r\n\r\n"), said);
      assert.equal(await failures("answer_truncated"), before + 1);
      await nextIsGood();
    });
  }

  it("are seen to be cut by a client of HTTP/1.0, for whom the end is the end", async () => {
    answer = chunked("5\r\nshort\r\n");
    ends = true;
    const error = await new Promise<string | undefined>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => {
        socket.write("POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
      });
      socket.on("error", (reset: NodeJS.ErrnoException) => resolve(reset.code));
      socket.on("end", () => resolve(undefined));
      socket.resume();
    });
    assert.equal(error, "ECONNRESET");
    await nextIsGood();
  });

  for (const [why, bytes, method] of BEYOND) {
    it(`pass to nobody: ${why}`, async () => {
      answer = bytes;
      ends = false;
      const said = await ask(method);
      assert.match(said, /^HTTP\/1\.1 (?:200|204|205|304) /);
      assert.doesNotMatch(said, new RegExp(SECRET));
      assert.equal(said.match(/HTTP\/1\.1 /g)!.length, 1);
      await nextIsGood();
    });

    it(`pass to nobody: ${why}, a moment later`, async () => {
      // The answer without what is beyond it.
      const late = bytes.endsWith(SECRET) ? bytes.lastIndexOf("HTTP/1.1") : -1;
      answer = late > 0 ? bytes.slice(0, late) : bytes.slice(0, -SECRET.length);
      ends = false;
      const said = await ask(method);
      assert.doesNotMatch(said, new RegExp(SECRET));
      const [socket] = endpoint.sockets;
      socket!.write(bytes.slice(answer.length));
      await until("the proxy has let go of it", () => endpoint.sockets.size === 0);
      await nextIsGood();
    });
  }
});
