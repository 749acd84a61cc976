import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, it } from "node:test";
import { systemClock } from "#kernel/clock.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { LineLog } from "#proxy/observe/line_log.ts";
import { counterOf, simpleSnapshot, startPlane } from "#test/kit/proxy.ts";
import { Recorder } from "#test/kit/recorder.ts";

const lines = (...all: readonly string[]): string => `${all.join("\r\n")}\r\n\r\n`;
/** A GET with one more field, or a few. */
const field = (...fields: readonly string[]): string =>
  lines("GET / HTTP/1.1", "Host: a", ...fields);
const target = (text: string, host = "a"): string => lines(`GET ${text} HTTP/1.1`, `Host: ${host}`);
const host = (value: string): string => lines("GET / HTTP/1.1", `Host:${value}`);
const post = (body: string, ...fields: readonly string[]): string =>
  lines("POST / HTTP/1.1", "Host: a", ...fields) + body;
const chunked = (body: string): string => post(body, "Transfer-Encoding: chunked");
const length = (value: string): string => post("hello", `Content-Length:${value}`);
const coding = (value: string): string => post("0\r\n\r\n", `Transfer-Encoding:${value}`);
/** What a smuggler hides behind a body. */
const HIDDEN = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";

type Row = readonly [why: string, bytes: string, status?: number];

/** Each is read in two ways by somebody, or by nobody in any. RFC 9110, 9112. */
const ROWS: readonly Row[] = [
  // Two framings, or one that is doubtful.
  ["CL.TE", post(`0\r\n\r\n${HIDDEN}`, "Content-Length: 40", "Transfer-Encoding: chunked")],
  ["TE.CL", post(`5\r\nhello\r\n0\r\n\r\n`, "Transfer-Encoding: chunked", "Content-Length: 4")],
  ["CL.CL, equal", post("hello", "Content-Length: 5", "Content-Length: 5")],
  ["CL.CL, different", post("hello", "Content-Length: 5", "Content-Length: 0")],
  ["CL of nothing and TE", post("0\r\n\r\n", "Content-Length:", "Transfer-Encoding: chunked")],
  ["lengths in a list", length(" 5, 5")],
  ["lengths in a list without blanks", length(" 5,5")],
  ["a length and a comma", length(" 5,")],
  ["an empty length", length("")],
  ["a blank length", length("   ")],
  ["a signed length", length(" +5")],
  ["a negative length", length(" -5")],
  ["a negative zero", length(" -0")],
  ["a hexadecimal length", length(" 0x5")],
  ["an octal length", length(" 0o5")],
  ["a length with a fraction", length(" 5.0")],
  ["a length with an exponent", length(" 5e0")],
  ["a length with an underscore", length(" 1_0")],
  ["two lengths in one", length(" 5 5")],
  ["a length with a unit", length(" 5b")],
  ["a quoted length", length(' "5"')],
  ["a length with a vertical tab", length(" \x0b5")],
  ["a length with a form feed", length(" 5\x0c")],
  ["a length with a no-break space", length(" \xa05")],
  ["a length in other digits", length(" \xb2")],
  ["a length that overflows 64 bits", length(" 18446744073709551621")],
  ["a length beyond 2^53", length(" 9007199254740993")],
  ["TE: gzip", coding(" gzip")],
  ["TE: identity", coding(" identity")],
  ["TE: gzip, chunked", coding(" gzip, chunked")],
  ["TE: chunked, gzip", coding(" chunked, gzip")],
  ["TE: chunked, chunked", coding(" chunked, chunked")],
  ["TE: chunked, identity", coding(" chunked, identity")],
  ["TE: chunked,", coding(" chunked,")],
  ["TE: , chunked", coding(" , chunked")],
  ["TE: xchunked", coding(" xchunked")],
  ["TE: chunkedx", coding(" chunkedx")],
  ["TE: chunked;q=1", coding(" chunked;q=1")],
  ["TE: quoted", coding(' "chunked"')],
  ["TE: nothing", coding("")],
  ["TE with a vertical tab", coding(" \x0bchunked")],
  ["TE with a form feed behind", coding(" chunked\x0c")],
  ["TE with a NUL", coding(" chunked\0")],
  ["TE with a no-break space", coding(" \xa0chunked")],
  ["TE with bytes beyond ASCII", coding(" \xc5\xbfchunked")],
  ["TE twice", post("0\r\n\r\n", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked")],
  ["TE and another", post("0\r\n\r\n", "Transfer-Encoding: chunked", "Transfer-Encoding: x")],
  ["TE and a blank", post("0\r\n\r\n", "Transfer-Encoding : chunked")],
  ["a blank and TE", post("0\r\n\r\n", " Transfer-Encoding: chunked")],
  ["TE folded", post("0\r\n\r\n", "Transfer-Encoding:\r\n chunked")],
  ["TE behind a fold", post("0\r\n\r\n", "X: a\r\n Transfer-Encoding: chunked")],
  ["TE behind a bare LF", post("0\r\n\r\n", "X: a\nTransfer-Encoding: chunked")],
  ["TE behind a bare CR", post("0\r\n\r\n", "X: a\rTransfer-Encoding: chunked")],
  ["TE with an underscore", post("0\r\n\r\n", "Transfer_Encoding: chunked")],
  ["CL with an underscore", post("hello", "Content_Length: 5")],
  ["a tab before a coding", coding("\tchunked")],
  ["a tab behind a coding", coding(" chunked\t")],
  ["blanks around a tab behind a coding", coding(" chunked \t ")],
  ["a tab before a length", length("\t5")],
  ["blanks around a tab before a length", length(" \t 5")],
  ["a tab behind a length", length(" 5\t")],
  ["CL with a blank", post("hello", "Content-Length : 5")],
  ["CL with a tab", post("hello", "Content-Length\t: 5")],
  ["CL folded", post("hello", "Content-Length: 5\r\n 5")],
  ["TE in HTTP/1.0", lines("POST / HTTP/1.0", "Host: a", "Transfer-Encoding: chunked")],
  // Chunks.
  ["a chunk of no size", chunked("\r\nhello\r\n0\r\n\r\n")],
  ["a signed chunk", chunked("+5\r\nhello\r\n0\r\n\r\n")],
  ["a negative chunk", chunked("-1\r\nhello\r\n0\r\n\r\n")],
  ["a chunk with 0x", chunked("0x5\r\nhello\r\n0\r\n\r\n")],
  ["a chunk with an underscore", chunked("0_5\r\nhello\r\n0\r\n\r\n")],
  ["a chunk with a blank before", chunked(" 5\r\nhello\r\n0\r\n\r\n")],
  ["a chunk with a blank behind", chunked("5 \r\nhello\r\n0\r\n\r\n")],
  ["a chunk with a tab behind", chunked("5\t\r\nhello\r\n0\r\n\r\n")],
  ["a chunk with other letters", chunked("5g\r\nhello\r\n0\r\n\r\n")],
  ["a chunk beyond 2^53", chunked("20000000000001\r\nhello\r\n0\r\n\r\n")],
  ["a chunk that overflows 64 bits", chunked("10000000000000005\r\nhello\r\n0\r\n\r\n")],
  ["a chunk with many zeros", chunked(`${"0".repeat(300)}5\r\nhello\r\n0\r\n\r\n`)],
  ["a size ended by LF", chunked("5\nhello\r\n0\r\n\r\n")],
  ["a size ended by CR", chunked("5\rhello\r\n0\r\n\r\n")],
  ["a size ended by CR CR LF", chunked("5\r\r\nhello\r\n0\r\n\r\n")],
  ["a chunk ended by LF", chunked("5\r\nhello\n0\r\n\r\n")],
  ["a chunk ended by CR", chunked("5\r\nhello\r0\r\n\r\n")],
  ["a chunk ended by two other bytes", chunked("5\r\nhelloXX0\r\n\r\n")],
  ["a chunk that is not ended", chunked("5\r\nhello0\r\n\r\n")],
  ["a chunk longer than it says", chunked("4\r\nhello\r\n0\r\n\r\n")],
  ["TERM.EXT", chunked(`2;\nxx\r\n4c\r\n${HIDDEN}\r\n0\r\n\r\n`)],
  ["EXT.TERM", chunked(`5;a\nhello\r\n0\r\n\r\n${HIDDEN}`)],
  ["an extension ended by CR", chunked("5;a\rb\r\nhello\r\n0\r\n\r\n")],
  ["an extension without a name", chunked("5;\r\nhello\r\n0\r\n\r\n")],
  ["an extension with an open quote", chunked('5;a="\r\nhello\r\n0\r\n\r\n')],
  ["a line end in a quoted extension", chunked('5;a="\r\n0\r\n\r\n"\r\nhello\r\n0\r\n\r\n')],
  ["a blank before an extension", chunked("5 ;a\r\nhello\r\n0\r\n\r\n")],
  ["a NUL in an extension", chunked("5;a\0\r\nhello\r\n0\r\n\r\n")],
  ["an extension without end", chunked(`5;${"a".repeat(400)}\r\nhello\r\n0\r\n\r\n`)],
  ["extensions without end", chunked(`${`1;${"a".repeat(250)}\r\nx\r\n`.repeat(70)}0\r\n\r\n`)],
  ["a last chunk ended by LF", chunked("0\n\r\n")],
  ["a body ended by LF", chunked("0\r\n\n")],
  ["a body ended by CR CR LF", chunked("0\r\n\r\r\n")],
  ["a trailer without a colon", chunked("0\r\nX\r\n\r\n")],
  ["a folded trailer", chunked("0\r\nX: a\r\n b\r\n\r\n")],
  ["a blank in a trailer's name", chunked("0\r\nX : a\r\n\r\n")],
  ["a NUL in a trailer", chunked("0\r\nX: \0\r\n\r\n")],
  ["a trailer ended by LF", chunked("0\r\nX: a\n\r\n")],
  ["a length as a trailer", chunked("0\r\nContent-Length: 5\r\n\r\n")],
  ["a coding as a trailer", chunked("0\r\nTransfer-Encoding: chunked\r\n\r\n")],
  ["close as a trailer", chunked("0\r\nConnection: close\r\n\r\n")],
  ["an upgrade as a trailer", chunked("0\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n")],
  ["a Host as a trailer", chunked("0\r\nHost: b\r\n\r\n")],
  ["trailers without end", chunked(`0\r\n${"X: y\r\n".repeat(200)}\r\n`)],
  // Lines.
  ["lines ended by LF", "GET / HTTP/1.1\nHost: a\n\n"],
  ["a request line ended by LF", "GET / HTTP/1.1\nHost: a\r\n\r\n"],
  ["a field ended by LF", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"],
  ["a head ended by LF", "GET / HTTP/1.1\r\nHost: a\r\n\n"],
  ["a head ended by LF CR LF", "GET / HTTP/1.1\r\nHost: a\n\r\n"],
  ["a line ended by CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"],
  ["lines ended by CR", "GET / HTTP/1.1\rHost: a\r\r\nX: b\r\n\r\n"],
  ["a fold", field("X: a\r\n b")],
  ["a fold with a tab", field("X: a\r\n\tb")],
  ["a fold as the first field", lines("GET / HTTP/1.1", " X: a", "Host: a")],
  ["a fold of Host", "GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n"],
  ["two empty lines before", `\r\n\r\n${target("/")}`],
  ["a LF before", `\n${target("/")}`],
  ["a blank before", ` ${target("/")}`],
  ["a byte order mark before", `\xef\xbb\xbf${target("/")}`],
  // Names and values.
  ["no colon", field("X")],
  ["an empty name", field(": a")],
  ["a blank in a name", field("X Y: a")],
  ["a blank before the colon", field("X : a")],
  ["a tab before the colon", field("X\t: a")],
  ["a NUL in a name", field("X\0: a")],
  ["a byte beyond ASCII in a name", field("X\xe4: a")],
  ["brackets in a name", field("X[]: a")],
  ["a slash in a name", field("X/Y: a")],
  ["a NUL in a value", field("X: \0")],
  ["a bell in a value", field("X: \x07")],
  ["a vertical tab in a value", field("X: a\x0b")],
  ["DEL in a value", field("X: \x7f")],
  ["an escape in a value", field("X: \x1b[0m")],
  ["too many fields", field(...Array<string>(200).fill("X: y")), 431],
  ["too large a head", field(`X: ${"y".repeat(70_000)}`), 431],
  ["too long a target", target(`/${"y".repeat(20_000)}`), 414],
  ["a target without end", target(`/${"y".repeat(70_000)}`), 414],
  // The request line.
  ["an empty line", "\r\n\r\n\r\n"],
  ["HTTP/0.9", "GET /\r\n"],
  ["no target", lines("GET HTTP/1.1", "Host: a")],
  ["no method", lines("/ HTTP/1.1", "Host: a")],
  ["two blanks", lines("GET  / HTTP/1.1", "Host: a")],
  ["two blanks before the version", lines("GET /  HTTP/1.1", "Host: a")],
  ["a blank behind the version", lines("GET / HTTP/1.1 ", "Host: a")],
  ["a tab for a blank", lines("GET\t/ HTTP/1.1", "Host: a")],
  ["a vertical tab for a blank", lines("GET\x0b/ HTTP/1.1", "Host: a")],
  ["a blank in the target", target("/a b")],
  ["a tab in the target", target("/a\tb")],
  ["a control character in the target", target("/\x01")],
  ["a NUL in the target", target("/\0")],
  ["DEL in the target", target("/\x7f")],
  ["a byte beyond ASCII in the target", target("/\xe4")],
  ["a fragment", target("/a#b")],
  ["a target without a slash", target("x")],
  ["a query alone", target("?x")],
  ["a backslash", target("\\x")],
  ["an asterisk for GET", target("*")],
  ["a host for a target", target("a:80")],
  ["HTTP/1.2", lines("GET / HTTP/1.2", "Host: a"), 505],
  ["HTTP/1.9 and a body", lines("POST / HTTP/1.9", "Host: a", "Content-Length: 5"), 505],
  ["HTTP/1.10", lines("GET / HTTP/1.10", "Host: a")],
  ["HTTP/01.1", lines("GET / HTTP/01.1", "Host: a")],
  ["HTTP/1", lines("GET / HTTP/1", "Host: a")],
  ["HTTP/11", lines("GET / HTTP/11", "Host: a")],
  ["HTTP/1,1", lines("GET / HTTP/1,1", "Host: a")],
  ["HTTP/1.", lines("GET / HTTP/1.", "Host: a")],
  ["HTTP/1.x", lines("GET / HTTP/1.x", "Host: a")],
  ["HTTP/0.9 in words", lines("GET / HTTP/0.9", "Host: a")],
  ["http/1.1", lines("GET / http/1.1", "Host: a")],
  ["HTTP /1.1", lines("GET / HTTP /1.1", "Host: a")],
  ["ICY/1.1", lines("GET / ICY/1.1", "Host: a")],
  ["HTTP/2.0", lines("GET / HTTP/2.0", "Host: a"), 505],
  ["HTTP/2", lines("GET / HTTP/2", "Host: a")],
  ["HTTP/3.0", lines("GET / HTTP/3.0", "Host: a"), 505],
  ["a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
  ["a method in small letters", lines("get / HTTP/1.1", "Host: a")],
  ["a method that is no token", lines("G@T / HTTP/1.1", "Host: a")],
  ["a method without end", lines(`${"G".repeat(100)} / HTTP/1.1`, "Host: a")],
  ["TRACE", lines("TRACE / HTTP/1.1", "Host: a"), 501],
  ["Trace", lines("Trace / HTTP/1.1", "Host: a")],
  ["another expectation", field("Expect: x"), 417],
  ["a hidden expectation", post("hello", "Content-Length: 5", "Expect: y 100-continue"), 417],
  // Host.
  ["no Host", lines("GET / HTTP/1.1", "X: y")],
  ["no field at all", lines("GET / HTTP/1.1")],
  ["two Hosts", field("Host: a")],
  ["two Hosts that differ", field("Host: b")],
  ["an empty Host", host("")],
  ["a blank before the colon of Host", lines("GET / HTTP/1.1", "Host : a")],
  ["a Host in a fold", lines("GET / HTTP/1.1", "X: y", " Host: a")],
  ["a Host with a blank", host(" a b")],
  ["a tab behind Host's value", host(" a\t")],
  ["a Host of a tab", host("\t")],
  ["a Host with a comma", host(" a,b")],
  ["a Host with a user", host(" u@a")],
  ["a Host with a path", host(" a/b")],
  ["a Host with a query", host(" a?b")],
  ["a Host with a fragment", host(" a#b")],
  ["a Host with a backslash", host(" a\\b")],
  ["a Host with a scheme", host(" http://a")],
  ["a Host that is escaped", host(" %61")],
  ["a Host that is a pattern", host(" *.a")],
  ["a Host with a NUL", host(" a\0")],
  ["a Host with a vertical tab", host(" a\x0b")],
  ["a Host beyond ASCII", host(" \xe4")],
  ["a Host with quotes", host(' "a"')],
  ["a Host that begins with a dot", host(" .a")],
  ["a Host of a port alone", host(" :80")],
  ["a port that is none", host(" a:b")],
  ["a port that is empty", host(" a:")],
  ["a port beyond all ports", host(" a:65536")],
  ["two ports", host(" a:80:80")],
  ["an open bracket", host(" [::1")],
  ["an address without brackets", host(" ::1")],
  ["a zone", host(" [fe80::1%25a]")],
  ["a target that disagrees", target("http://b/")],
  ["a target with another port", target("http://a:81/", "a:80")],
  ["a target with a port that Host leaves out", target("http://a:80/")],
  ["a target with a user", target("http://u@a/")],
  ["a target with Host as its user", target("http://a@b/")],
  ["a target of another scheme", target("ftp://a/")],
  ["a target that names no host", target("http:///")],
  ["a target with one slash", target("http:/a/")],
  ["a target with a backslash in its host", target("http://a\\b/")],
  ["an absolute target without Host", lines("GET http://a/ HTTP/1.1")],
];

interface Outcome {
  readonly said: string;
  /** What the endpoint has heard of it. */
  readonly seen: string;
  readonly refusals: number;
  readonly logged: ReadonlyArray<Record<string, unknown>>;
}

/** Keeps what was written, besides. */
class KeptLog extends LineLog {
  readonly lines: Array<Record<string, unknown>> = [];

  override write(line: string): void {
    this.lines.push(JSON.parse(line));
    super.write(line);
  }
}

/** What a client hears of a connection that stays open. */
const OPEN = "… and it stays open";
const FIRST = lines("GET /first HTTP/1.1", "Host: a");

describe("requests that must not pass", { timeout: 60_000 }, () => {
  const endpoint = new Recorder();
  const outcomes = new Map<string, Outcome>();

  /** Runs every row, alone and behind a good request; the assertions below read what came of it. */
  before(async () => {
    endpoint.onData = (socket, said) => {
      if (said.endsWith("\r\n\r\n")) socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    };
    const accessLog = new KeptLog("/dev/null", systemClock, new MemoryLogger());
    const snapshot = simpleSnapshot([await endpoint.start()], { rules: { accessLogShare: 0 } });
    const { plane, port } = await startPlane(snapshot, { accessLog });
    for (const [why, bytes] of ROWS) {
      for (const [place, text] of [
        ["first", bytes],
        ["second", FIRST + bytes],
      ] as const) {
        endpoint.forget();
        accessLog.lines.length = 0;
        const before = await refusalsOf(plane);
        const said = await exchange(port, text);
        const refusals = (await refusalsOf(plane)) - before;
        const logged = [...accessLog.lines];
        outcomes.set(`${place} ${why}`, { said, seen: endpoint.seen, refusals, logged });
      }
    }
    await plane.drain(0);
  });
  after(() => endpoint.stop());

  for (const [why, , status = 400] of ROWS) {
    it(`gets ${status} for ${why}`, () => {
      const { said, seen, refusals, logged } = outcomes.get(`first ${why}`)!;
      assert.match(said, new RegExp(`^HTTP/1\\.1 ${status} [^\\r\\n]+\\r\\n`));
      assert.match(said, /\r\nconnection: close\r\n/);
      assert.ok(!said.endsWith(OPEN));
      assert.equal(answers(said), 1, said);
      assert.equal(seen, "", "the endpoint has heard of it");
      assert.equal(refusals, 1);
      assert.equal(logged.length, 1);
      assert.equal(logged[0]!["http.response.status_code"], status);
      assert.match(said, new RegExp(`\\r\\n\\r\\n${status} ${logged[0]!["error.type"]}\\n$`));
    });

    it(`gets ${status} for ${why}, behind a good request`, () => {
      const { said, seen, refusals, logged } = outcomes.get(`second ${why}`)!;
      assert.match(said, /^HTTP\/1\.1 200 OK\r\n/);
      assert.equal(answers(said), 2, said);
      assert.ok(!said.endsWith(OPEN));
      assert.match(said, new RegExp(`okHTTP/1\\.1 ${status} [^\\r\\n]+\\r\\n`));
      assert.match(seen, /^GET \/first HTTP\/1\.1\r\n(?:[^\r\n]+\r\n)+\r\n$/);
      assert.equal(refusals, 1);
      assert.deepEqual(
        logged.map((line) => line["http.response.status_code"]),
        [status],
      );
    });
  }
});

/** Sends bytes and returns what came until the proxy closed; `OPEN` behind it if it does not. */
function exchange(port: number, text: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    let said = "";
    const done = (): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(said);
    };
    const timer = setTimeout(() => {
      said += OPEN;
      done();
    }, 2_000);
    socket.on("data", (chunk) => {
      said += chunk.toString("latin1");
    });
    socket.on("error", done);
    socket.on("end", done);
    socket.write(Buffer.from(text, "latin1"));
  });
}

function answers(said: string): number {
  return [...said.matchAll(/HTTP\/1\.\d \d{3}/g)].length;
}

async function refusalsOf(plane: { metricsText(): Promise<string> }): Promise<number> {
  return counterOf(await plane.metricsText(), "espalier_requests_refused_total");
}
