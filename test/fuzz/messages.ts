import type { Rng } from "#kernel/rng.ts";

/*
 * Messages that are nearly right: built from parts that matter to framing, routing and trust, then changed in
 * a few places with what parsers are known to disagree about.
 */

/** One of them. */
function pick<T>(rng: Rng, list: readonly T[]): T {
  return list[rng.below(list.length)]!;
}

const chance = (rng: Rng, oneIn: number): boolean => rng.below(oneIn) === 0;

const METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "QUERY"];
const TARGETS = [
  "/",
  "/a?b=c",
  "/%2e%2e/x",
  "//a//b",
  "/a;b='c'(d)",
  "/?x=http://b/",
  "http://a.example/x",
  "http://a.example?y",
  "HTTP://A.example",
  "*",
];
const VERSIONS = ["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"];
const FIELDS = [
  "X-A: one, two",
  "X-Empty:",
  "X-Blank:   ",
  "X-Tabs:\ta\tb\t",
  "X-Obs: \xe4\xff",
  "X-A: again",
  "Connection: close",
  "Connection: keep-alive, x-a",
  "Connection: x-obs",
  "Keep-Alive: timeout=5",
  "TE: trailers",
  "Trailer: x-sum",
  "Expect: 100-continue",
  "Upgrade: websocket",
  "Cookie: a=b; c=d",
  "constructor: 5",
  "__proto__: 5",
  "Proxy-Connection: x",
  "Set-Cookie: a=b",
  "Content-Type: text/plain",
];
const BODIES = [
  "",
  "a",
  "hello",
  "0\r\n\r\n",
  "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n",
  "\r\n",
  "\0\xff",
];
const EXTENSIONS = ["", "", "", ";a", ";a=b", ';a="b;c"', ";a;b"];
const TRAILERS = ["", "", "", "X-Sum: 1\r\n", "X-A: b\r\nX-C:\r\n", "Authorization: x\r\n"];

/** What two parsers may read in two ways. */
const NASTY = [
  "\r",
  "\n",
  "\r\n",
  "\r\n\r\n",
  "\n\n",
  "\0",
  " ",
  "\t",
  "\x0b",
  "\x0c",
  "\x7f",
  "\x80",
  "\x85",
  "\xa0",
  "\xff",
  ":",
  ",",
  ";",
  "=",
  '"',
  "\\",
  "#",
  "?",
  "@",
  "/",
  "*",
  "%",
  "+",
  "-",
  "_",
  ".",
  "0",
  "1",
  "5",
  "f",
  "x",
  "e",
  "0x",
  "\r\n ",
  "\r\n\t",
  "\r\nX: y",
  "\r\nContent-Length: 5",
  "\r\nContent-Length: 0",
  "\r\nTransfer-Encoding: chunked",
  "\r\nTransfer-Encoding: identity",
  "\r\nTransfer-Encoding: gzip, chunked",
  "\r\nHost: b",
  "\r\nConnection: content-length",
  "\r\nConnection: transfer-encoding",
  "Content-Length: 1\r\n",
  "chunked",
  "identity",
  "HTTP/1.1",
  "0\r\n\r\n",
];

/** One to three requests, one behind the other. */
export function nearlyRequests(rng: Rng): string {
  let text = chance(rng, 10) ? "\r\n" : "";
  for (let i = rng.below(3); i >= 0; i--) text += oneRequest(rng);
  return changed(rng, text);
}

function oneRequest(rng: Rng): string {
  const target = pick(rng, TARGETS);
  const lines = [`${pick(rng, METHODS)} ${target} ${pick(rng, VERSIONS)}`];
  if (!chance(rng, 20)) lines.push(`Host: ${/example/i.test(target) ? "a.example" : "a"}`);
  return withBody(rng, lines);
}

function withBody(rng: Rng, lines: string[]): string {
  for (let i = rng.below(4); i > 0; i--) lines.push(pick(rng, FIELDS));
  const body = pick(rng, BODIES);
  const framing = rng.below(6);
  if (framing < 2) lines.push(`Content-Length: ${body.length}`);
  else if (framing < 4)
    lines.push(pick(rng, ["Transfer-Encoding: chunked", "transfer-encoding:CHUNKED"]));
  // A framing among other fields rather than behind them.
  if (chance(rng, 2)) lines.push(pick(rng, FIELDS));
  const head = `${lines.join("\r\n")}\r\n\r\n`;
  if (framing < 2) return head + body;
  return framing < 4 ? head + inChunks(rng, body) : head;
}

function inChunks(rng: Rng, body: string): string {
  let text = "";
  for (let at = 0; at < body.length; ) {
    const length = Math.min(body.length - at, 1 + rng.below(8));
    const size = `${chance(rng, 5) ? "00" : ""}${length.toString(16)}`;
    text += `${size}${pick(rng, EXTENSIONS)}\r\n${body.slice(at, at + length)}\r\n`;
    at += length;
  }
  return `${text}0${pick(rng, EXTENSIONS)}\r\n${pick(rng, TRAILERS)}\r\n`;
}

/** An answer, perhaps with interim ones before it, and what it answers. */
export interface NearlyAnswer {
  readonly method: string;
  /** The client speaks HTTP/1.0. */
  readonly old: boolean;
  readonly text: string;
  /** The endpoint ends its side behind it. */
  readonly ends: boolean;
}

const STATUS_LINES = [
  "HTTP/1.1 200 OK",
  "HTTP/1.1 200 OK",
  "HTTP/1.1 200 OK",
  "HTTP/1.1 200",
  "HTTP/1.1 201 ",
  "HTTP/1.0 200 OK",
  "HTTP/1.1 404 Not \xe4 Found",
  "HTTP/1.1 204 No Content",
  "HTTP/1.1 205 Reset Content",
  "HTTP/1.1 206 Partial Content",
  "HTTP/1.1 304 Not Modified",
  "HTTP/1.1 500 a: b",
];
const INTERIM_LINES = [
  "HTTP/1.1 100 Continue",
  "HTTP/1.1 102 Processing",
  "HTTP/1.1 103 Early Hints",
];

/** An answer to one request, or nearly. */
export function nearlyAnswer(rng: Rng): NearlyAnswer {
  let text = "";
  for (let i = chance(rng, 4) ? 1 + rng.below(2) : 0; i > 0; i--) {
    const fields = chance(rng, 3) ? `${pick(rng, FIELDS)}\r\n` : "";
    text += `${pick(rng, INTERIM_LINES)}\r\n${fields}\r\n`;
  }
  text += withBody(rng, [pick(rng, STATUS_LINES)]);
  // One to a request that nobody made.
  if (chance(rng, 10)) text += withBody(rng, ["HTTP/1.1 200 OK"]);
  return {
    method: pick(rng, ["GET", "GET", "POST", "HEAD"]),
    old: chance(rng, 5),
    text: changed(rng, text),
    ends: chance(rng, 2),
  };
}

/** Up to three changes; one message in four stays as it is. */
function changed(rng: Rng, text: string): string {
  let now = text;
  for (let i = rng.below(4); i > 0; i--) now = changedOnce(rng, now);
  return now;
}

function changedOnce(rng: Rng, text: string): string {
  const at = rng.below(text.length + 1);
  switch (rng.below(8)) {
    case 0:
      return text.slice(0, at) + text.slice(at + 1 + rng.below(3));
    case 1:
      return text.slice(0, at) + pick(rng, NASTY) + text.slice(at + 1);
    case 2: {
      // A line twice, or in another place.
      const lines = text.split("\r\n");
      lines.splice(rng.below(lines.length), rng.below(2), pick(rng, lines));
      return lines.join("\r\n");
    }
    case 3: {
      // Another line end.
      const ends = [...text.matchAll(/\r\n/g)];
      if (ends.length === 0) return text;
      const { index } = pick(rng, ends);
      return (
        text.slice(0, index) + pick(rng, ["\n", "\r", "\r\r\n", "\n\r", ""]) + text.slice(index + 2)
      );
    }
    case 4: {
      // Around a colon.
      const colons = [...text.matchAll(/:/g)];
      if (colons.length === 0) return text;
      const { index } = pick(rng, colons);
      return (
        text.slice(0, index) +
        pick(rng, [" :", "\t:", ":\x0b", ":\xa0", "::", "\0:", "", ":\r\n "]) +
        text.slice(index + 1)
      );
    }
    case 5: {
      // Another number.
      const numbers = [...text.matchAll(/[0-9a-f]+/g)];
      if (numbers.length === 0) return text;
      const { index, 0: number } = pick(rng, numbers);
      const other = pick(rng, [
        `+${number}`,
        `0${number}`,
        `${number}0`,
        `${number}, ${number}`,
        ` ${number} `,
        "0",
        "1",
        `0x${number}`,
        `${number}_`,
        "fffffffffffffffff",
        "-1",
      ]);
      return text.slice(0, index) + other + text.slice(index + number.length);
    }
    case 6: {
      // Letters in another case.
      const upper = chance(rng, 2);
      const part = text.slice(at, at + 1 + rng.below(12));
      return (
        text.slice(0, at) +
        (upper ? part.toUpperCase() : part.toLowerCase()) +
        text.slice(at + part.length)
      );
    }
    default:
      return text.slice(0, at) + pick(rng, NASTY) + text.slice(at);
  }
}

/** Whole, or cut in a place or two. */
export function pieces(rng: Rng, bytes: Buffer): Buffer[] {
  const cuts = [0, bytes.length];
  for (let i = rng.below(3); i > 0; i--) cuts.push(rng.below(bytes.length + 1));
  cuts.sort((a, b) => a - b);
  return cuts.slice(1).map((to, i) => bytes.subarray(cuts[i]!, to));
}
