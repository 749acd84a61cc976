import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  type ClientHttp2Session,
  connect,
  constants,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type SessionOptions,
} from "node:http2";
import { type AddressInfo, connect as connectTcp } from "node:net";
import { after, before, describe, it } from "node:test";
import { type Rng, seededRng } from "#kernel/rng.ts";
import type { LocalPlane } from "#proxy/app/local_plane.ts";
import { replay, seeds } from "#test/fuzz/budget.ts";
import { gatewayYaml, snapshotOf } from "#test/kit/gateway.ts";
import { startPlane } from "#test/kit/proxy.ts";

/** Connections tried by `make test`, and requests on each. */
const CASES = 30;
const REQUESTS = 8;
const FILE = "http2_messages.test.ts";

const oneOf = <T>(rng: Rng, choices: readonly T[]): T => choices[rng.below(choices.length)]!;
const digest = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("base64");

const { PADDING_STRATEGY_NONE, PADDING_STRATEGY_MAX } = constants;
/** Missing in the types of Node. */
const PADDING_STRATEGY_ALIGNED = 1;
const PADDINGS = [PADDING_STRATEGY_NONE, PADDING_STRATEGY_MAX, PADDING_STRATEGY_ALIGNED];
const CONTROL = "\u0001";
const METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE", "M-SEARCH"];
const STATUSES = ["200", "200", "201", "204", "206", "304", "404", "418", "500", "599"];
/** Around what fits into a frame, and into a window. */
const SIZES = [0, 1, 2, 255, 256, 16_383, 16_384, 16_385, 32_768, 65_534, 65_535, 65_536, 131_071];
const NAMES = ["x-a", "accept", "user-agent", "x-!#$%&'*+.^_`|~9", "cookie", "x-b", "etag", "x-c"];
/** Cookies and the like are left out of trailers. */
const LAST_NAMES = ["x-a", "x-!#$%&'*+.^_`|~9", "etag", "x-last"];

/** Mostly printable, sometimes what only RFC 9110 §5.5 allows (tabs, blanks, obs-text), seldom what it does not. */
function value(rng: Rng): string {
  const length = rng.below(12) === 0 ? rng.below(4_000) : rng.below(30);
  const from = oneOf(rng, [0x21, 0x41, 0x61, 0xa1]);
  const text = String.fromCharCode(...Array.from({ length }, () => from + rng.below(26)));
  if (rng.below(8) === 0) return `a \t ${text}b`;
  return rng.below(40) === 0 ? oneOf(rng, [` ${text}`, `${text}\t`, `a${CONTROL}${text}`]) : text;
}

function fields(rng: Rng, most: number, names = NAMES): Record<string, string> {
  const made: Record<string, string> = {};
  for (let left = rng.below(most); left > 0; left--) made[oneOf(rng, names)] = value(rng);
  return made;
}

/** A request, and what it asks its server to answer. */
interface Said {
  readonly headers: Record<string, string>;
  readonly body: number;
  readonly trailers: Record<string, string>;
}

function said(rng: Rng): Said {
  const method = oneOf(rng, METHODS);
  const path = oneOf(rng, ["/", "/a?b=c", "/%20%ff/..;x", `/${"y".repeat(rng.below(3_000))}`]);
  const want = {
    status: oneOf(rng, STATUSES),
    size: oneOf(rng, SIZES),
    headers: fields(rng, 4),
    trailers: fields(rng, 3, LAST_NAMES),
    announced: rng.below(2) === 0,
  };
  const takesBody = method !== "GET" && method !== "HEAD";
  const body = takesBody ? oneOf(rng, SIZES) : 0;
  const told = takesBody && rng.below(3) === 0 ? { "content-length": String(body) } : {};
  return {
    headers: {
      ...{ ":method": method, ":path": path, ...told, ...fields(rng, 6) },
      "x-want": Buffer.from(JSON.stringify(want)).toString("base64"),
    },
    body,
    trailers: body > 0 && rng.below(3) === 0 ? fields(rng, 3, LAST_NAMES) : {},
  };
}

/** All that a client can know of an answer. */
interface Heard {
  readonly code: number;
  readonly head: Record<string, unknown>;
  readonly body: string;
  readonly trailers: Record<string, unknown>;
}

/** What a proxy adds or decides itself. */
const OWN = /^(?:date|via|x-forwarded-.*|x-request-id|traceparent|proxy-status|te|trailer)$/;

function plain(headers: IncomingHttpHeaders): Record<string, unknown> {
  const isKept = (name: string, text: unknown): boolean =>
    // That a body has no bytes its end says already.
    !OWN.test(name) && !(name === "content-length" && text === "0");
  const kept = Object.entries(headers).filter(([name, text]) => isKept(name, text));
  return Object.fromEntries(kept.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function exchange(session: ClientHttp2Session, { headers, body, trailers }: Said): Promise<Heard> {
  return new Promise((resolve, reject) => {
    const hasTrailers = Object.keys(trailers).length > 0;
    const stream = session.request(headers, {
      endStream: body === 0,
      waitForTrailers: hasTrailers,
    });
    const heard = { code: 0, head: {}, body: "", trailers: {} };
    const chunks: Buffer[] = [];
    const late = setTimeout(() => reject(new Error("it hangs")), 20_000);
    stream.on("response", (head) => {
      heard.head = plain(head);
    });
    stream.on("trailers", (last) => {
      heard.trailers = plain(last);
    });
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", () => {});
    stream.on("wantTrailers", () => stream.sendTrailers(trailers));
    stream.on("close", () => {
      clearTimeout(late);
      const whole = Buffer.concat(chunks);
      resolve({ ...heard, code: stream.rstCode!, body: `${whole.length} ${digest(whole)}` });
    });
    if (body > 0) stream.end(Buffer.alloc(body, "r"));
  });
}

/** What was asked, by its digest: answers have no room for all of it. */
const seenBySum = new Map<unknown, string>();

/** Says what it was asked, and answers as it was asked to. */
function answer(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
  const chunks: Buffer[] = [];
  let trailers: IncomingHttpHeaders = {};
  stream.on("error", () => {});
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  stream.on("trailers", (last) => {
    trailers = last;
  });
  stream.on("end", () => {
    if (stream.destroyed) return;
    const want = JSON.parse(Buffer.from(String(headers["x-want"]), "base64").toString());
    const seen = JSON.stringify({
      ...{ head: plain(headers), body: digest(Buffer.concat(chunks)), trailers: plain(trailers) },
    });
    const sum = digest(Buffer.from(seen));
    seenBySum.set(sum, seen);
    const length = want.announced ? { "content-length": String(want.size) } : {};
    const bodyless = want.status === "204" || want.status === "304";
    const head = {
      ...{ ":status": want.status, "x-seen": sum },
      ...(bodyless ? {} : length),
      ...want.headers,
    };
    const method = headers[":method"];
    if (bodyless || method === "HEAD") {
      stream.respond(head, { endStream: true });
      return;
    }
    const hasTrailers = Object.keys(want.trailers).length > 0;
    stream.respond(head, { waitForTrailers: hasTrailers });
    stream.on("wantTrailers", () => stream.sendTrailers(want.trailers));
    stream.end(Buffer.alloc(want.size, "a"));
  });
}

describe("HTTP/2 of node:http2 through us, beside the same without us", {
  timeout: 3_600_000,
}, () => {
  let server: Http2Server;
  let plane: LocalPlane;
  const ports = { direct: 0, ours: 0 };
  const sessions = new Set<ServerHttp2Session>();

  before(async () => {
    server = createServer({ paddingStrategy: PADDING_STRATEGY_ALIGNED });
    server.on("session", (session) => {
      sessions.add(session);
      session.on("error", () => {});
      session.on("close", () => sessions.delete(session));
    });
    server.on("stream", (stream, headers) => answer(stream as ServerHttp2Stream, headers));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    ports.direct = (server.address() as AddressInfo).port;
    const yaml = gatewayYaml(["{ backendRefs: [{ name: origin, port: 80 }] }"], {
      origin: [ports.direct],
    });
    const h2c = "ports: [{ port: 80, appProtocol: kubernetes.io/h2c }]";
    const started = await startPlane(snapshotOf(yaml.replace("ports: [{ port: 80 }]", h2c)));
    plane = started.plane;
    ports.ours = started.port;
  });
  after(async () => {
    await plane.drain(0);
    for (const session of sessions) session.destroy();
    await new Promise((resolve) => server.close(resolve));
  });

  async function all(port: number, options: SessionOptions, asked: readonly Said[]) {
    // The same authority for both.
    const session = connect("http://a.example", {
      ...options,
      createConnection: () => connectTcp(port, "127.0.0.1"),
    });
    session.on("error", () => {});
    try {
      return await Promise.all(asked.map((one) => exchange(session, one)));
    } finally {
      session.destroy();
    }
  }

  it("is the same: statuses, fields, bodies, trailers", async (t) => {
    let count = 0;
    let refused = 0;
    for (const seed of seeds(CASES)) {
      const rng = seededRng(seed);
      const options: SessionOptions = {
        paddingStrategy: oneOf(rng, PADDINGS),
        settings: {
          headerTableSize: oneOf(rng, [0, 100, 4_096, 65_536]),
          initialWindowSize: oneOf(rng, [1_000, 16_384, 65_535, 1_000_000]),
          maxFrameSize: oneOf(rng, [16_384, 20_000, 1_000_000]),
        },
      };
      const asked = Array.from({ length: REQUESTS }, () => said(rng));
      const says = replay(FILE, seed, JSON.stringify(options));
      const [direct, ours] = await Promise.all([
        all(ports.direct, options, asked),
        all(ports.ours, options, asked),
      ]);
      for (const [i, mine] of ours.entries()) {
        const { headers, trailers } = asked[i]!;
        const want = JSON.parse(Buffer.from(headers["x-want"]!, "base64").toString());
        count++;
        // Node leaves out what has such characters and goes on; to us the message is malformed (RFC 9113 §8.2.1).
        if ([headers, trailers].some(isMalformed)) {
          refused++;
          assert.equal(mine.code, constants.NGHTTP2_PROTOCOL_ERROR, says);
        } else if (isMalformed(want.headers)) {
          refused++;
          assert.equal(mine.head[":status"], 502, says);
        } else if (isMalformed(want.trailers) && headers[":method"] !== "HEAD") {
          if (direct[i]!.head[":status"] !== 204 && direct[i]!.head[":status"] !== 304) {
            refused++;
            assert.notEqual(mine.code, 0, says);
          }
        } else {
          const [theirs, seen] = [direct[i]!, seenBySum.get(mine.head["x-seen"])];
          assert.equal(seen, seenBySum.get(theirs.head["x-seen"]), `request ${i}: ${says}`);
          assert.deepEqual(mine, theirs, `request ${i}: ${says}`);
        }
      }
    }
    t.diagnostic(`${count} requests, ${refused} of them malformed`);
  });
});

function isMalformed(fields: Record<string, string>): boolean {
  return Object.values(fields).some((text) => text !== text.trim() || text.includes(CONTROL));
}
