import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { createServer, type Server } from "node:http";
import { type ClientHttp2Session, connect, type IncomingHttpHeaders } from "node:http2";
import { type AddressInfo, connect as connectTcp } from "node:net";
import { after, afterEach, before, describe, it } from "node:test";
import { type WebSocket, WebSocketServer } from "ws";
import type { LocalPlane } from "#proxy/app/local_plane.ts";
import { ErrorCode, FrameType, PREFACE, Setting } from "#proxy/http2/frames.ts";
import { RawHttp2 } from "#test/kit/http2_raw.ts";
import { until } from "#test/kit/processes.ts";
import { counterOf, simpleSnapshot, startPlane } from "#test/kit/proxy.ts";

const sha = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
};

interface Answer {
  readonly headers: IncomingHttpHeaders & { ":status"?: number | undefined };
  readonly body: Buffer;
  readonly trailers: IncomingHttpHeaders;
  readonly code: number;
}

function ask(
  session: ClientHttp2Session,
  headers: Record<string, string>,
  body?: Buffer,
): Promise<Answer> {
  return new Promise((resolve) => {
    const stream = session.request(headers, { endStream: body === undefined });
    const chunks: Buffer[] = [];
    let heard: Answer["headers"] = {};
    let trailers: IncomingHttpHeaders = {};
    stream.on("response", (head) => {
      heard = head;
    });
    stream.on("trailers", (fields) => {
      trailers = fields;
    });
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", () => {});
    stream.on("close", () =>
      resolve({ headers: heard, body: Buffer.concat(chunks), trailers, code: stream.rstCode! }),
    );
    if (body !== undefined) stream.end(body);
  });
}

describe("clients that speak HTTP/2", () => {
  let origin: Server;
  let sockets: WebSocketServer;
  let plane: LocalPlane;
  let port = 0;
  /** Requests that the endpoint has heard. */
  let heard = 0;
  const clients: Array<{ destroy(): void }> = [];

  before(async () => {
    origin = createServer((asked, answer) => {
      heard++;
      const hash = createHash("sha256");
      let bytes = 0;
      asked.on("data", (chunk) => {
        hash.update(chunk);
        bytes += chunk.length;
      });
      asked.on("end", () => {
        const path = asked.url!;
        answer.setHeader("x-cookie", asked.headers.cookie ?? "");
        answer.setHeader("x-sum", hash.digest("hex"));
        if (path === "/large")
          answer.setHeader("content-length", 5_000_000).end(Buffer.alloc(5_000_000, "x"));
        else if (path === "/none") answer.writeHead(204).end();
        else if (path === "/hints") {
          answer.writeEarlyHints({ link: "</a>" }, () => answer.end("ok"));
        } else if (path === "/trailers") {
          answer.setHeader("trailer", "x-last");
          answer.write("body");
          answer.addTrailers({ "x-last": "y" });
          answer.end();
        } else if (path !== "/never") answer.end(`${asked.method} ${path} ${bytes}`);
      });
    });
    origin.on("checkContinue", (asked, answer) => {
      answer.writeContinue();
      origin.emit("request", asked, answer);
    });
    sockets = new WebSocketServer({ server: origin });
    sockets.on("connection", (socket: WebSocket) => {
      socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
    });
    await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", resolve));
    const snapshot = simpleSnapshot([(origin.address() as AddressInfo).port]);
    ({ plane, port } = await startPlane(snapshot));
  });

  afterEach(() => {
    for (const client of clients.splice(0)) client.destroy();
  });

  after(async () => {
    await plane.drain(0);
    origin.closeAllConnections();
    sockets.close();
    origin.close();
  });

  function session(): ClientHttp2Session {
    const made = connect(`http://127.0.0.1:${port}`);
    made.on("error", () => {});
    clients.push(made);
    return made;
  }

  function raw(settings?: readonly number[]): RawHttp2 {
    const made = new RawHttp2(port, settings);
    clients.push(made.socket);
    return made;
  }

  const metric = async (name: string, labels = ""): Promise<number> =>
    counterOf(await plane.metricsText(), name, labels);

  it("get heads, bodies both ways, interim answers and trailers", async () => {
    const client = session();
    const body = randomBytes(1_000_000);
    const posted = await ask(client, { ":method": "POST", ":path": "/post" }, body);
    assert.equal(posted.headers["x-sum"], sha(body));
    assert.equal(posted.body.toString(), "POST /post 1000000");
    const crumbs = await ask(client, { ":path": "/", cookie: "a=b; c=d" });
    assert.equal(crumbs.headers["x-cookie"], "a=b; c=d");
    assert.equal((await ask(client, { ":path": "/large" })).body.length, 5_000_000);
    const none = await ask(client, { ":path": "/none" });
    assert.deepEqual([none.headers[":status"], none.body.length], [204, 0]);
    const head = await ask(client, { ":method": "HEAD", ":path": "/large" });
    assert.deepEqual([head.headers["content-length"], head.body.length], ["5000000", 0]);
    const last = await ask(client, { ":path": "/trailers", te: "trailers" });
    assert.deepEqual([last.body.toString(), last.trailers["x-last"]], ["body", "y"]);
    const hinted = client.request({ ":path": "/hints" });
    const hints = await new Promise<IncomingHttpHeaders>((resolve) =>
      hinted.on("headers", resolve),
    );
    assert.equal(hints["link"], "</a>");
    const expects = client.request({ ":method": "POST", ":path": "/", expect: "100-continue" });
    await new Promise((resolve) => expects.on("continue", resolve));
    expects.end("x");
    const [answer] = await new Promise<[IncomingHttpHeaders & { ":status"?: number | undefined }]>(
      (resolve) => expects.on("response", (fields) => resolve([fields])),
    );
    assert.equal(answer[":status"], 200);
  });

  it("get a thousand answers at once, each its own", async () => {
    const client = session();
    const bodies = Array.from({ length: 1_000 }, (_, i) => randomBytes((i * 37) % 20_000));
    const answers = await Promise.all(
      bodies.map((body, i) => ask(client, { ":method": "POST", ":path": `/${i}` }, body)),
    );
    for (const [i, { headers, body }] of answers.entries()) {
      assert.equal(headers["x-sum"], sha(bodies[i]!), String(i));
      assert.equal(body.toString(), `POST /${i} ${bodies[i]!.length}`);
    }
  });

  it("begin with the preface, wherever it is cut", async () => {
    for (let at = 1; at < PREFACE.length; at++) {
      const socket = connectTcp(port, "127.0.0.1");
      socket.write(PREFACE.subarray(0, at));
      await new Promise((resolve) => setImmediate(resolve));
      socket.write(Buffer.concat([PREFACE.subarray(at), Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])]));
      clients.push(socket);
      const [first] = await new Promise<Buffer[]>((resolve) =>
        socket.once("data", (chunk: Buffer) => resolve([chunk])),
      );
      assert.equal(first![3], FrameType.SETTINGS, `cut at ${at}`);
    }
  });

  it("are answered on the stream for what is no malformed request", async () => {
    const client = session();
    const status = async (headers: Record<string, string>) =>
      (await ask(client, headers)).headers[":status"];
    assert.equal(await status({ ":path": `/${"x".repeat(20_000)}` }), 414);
    assert.equal(await status({ ":path": "/", ":method": "TRACE" }), 501);
    assert.equal(await status({ ":path": "/", expect: "something" }), 417);
    assert.equal(await status({ ":path": "/" }), 200);
    // Small as it is packed: the list is what counts.
    const packed = raw();
    packed.ask(
      1,
      Array.from({ length: 80 }, () => ["x-large", "y".repeat(1_000)] as const),
    );
    await until("431", () => packed.of(FrameType.DATA, 1).length > 0);
    assert.equal(packed.of(FrameType.DATA, 1)[0]!.payload.toString(), "431 head_too_large\n");
    packed.ask(3);
    await until("the next answer", () => packed.of(FrameType.DATA, 3).length > 0);
  });

  it("cannot make a malformed message reach an endpoint", async () => {
    const before = heard;
    const cases: ReadonlyArray<ReadonlyArray<readonly [string, string]>> = [
      [["X-Upper", "a"]],
      [["connection", "close"]],
      [["transfer-encoding", "chunked"]],
      [["te", "gzip"]],
      [["x", "a\r\nb: c"]],
      [["x", "a\0"]],
      [["x", " a"]],
      [[":path", "/again"]],
      [[":unknown", "a"]],
      [["host", "other"]],
      [["content-length", "5"]],
    ];
    for (const more of cases) {
      const client = raw();
      client.ask(1, more);
      assert.equal(await client.reset(1), ErrorCode.PROTOCOL_ERROR, JSON.stringify(more));
    }
    const client = raw();
    client.ask(1, [["content-length", "5"]], false);
    client.say(FrameType.DATA, 0x1, 1, Buffer.from("four"));
    assert.equal(await client.reset(1), ErrorCode.PROTOCOL_ERROR);
    client.ask(3, [], false);
    client.say(FrameType.HEADERS, 0x5, 3, client.block([[":path", "/"]]));
    assert.equal(await client.reset(3), ErrorCode.PROTOCOL_ERROR);
    assert.ok(heard - before <= 2, "only the two whose heads were in order");
  });

  it("may not send on what is no stream, nor open windows too far", async () => {
    const client = raw();
    client.say(FrameType.DATA, 0, 99, Buffer.alloc(1));
    assert.equal(await client.goaway(), ErrorCode.PROTOCOL_ERROR);
    const overflow = raw();
    overflow.ask(1, [], false);
    overflow.say(FrameType.WINDOW_UPDATE, 0, 1, uint32(0x7fff_ffff));
    assert.equal(await overflow.reset(1), ErrorCode.FLOW_CONTROL_ERROR);
    overflow.say(FrameType.WINDOW_UPDATE, 0, 0, uint32(0x7fff_ffff));
    assert.equal(await overflow.goaway(), ErrorCode.FLOW_CONTROL_ERROR);
  });

  it("who give no window get no body, and the rest as they give it", async () => {
    const client = raw([Setting.INITIAL_WINDOW_SIZE, 0]);
    client.ask(1);
    await until("a head", () => client.of(FrameType.HEADERS, 1).length === 1);
    assert.equal(client.of(FrameType.DATA, 1).length, 0);
    const bytes = (): number =>
      client.of(FrameType.DATA, 1).reduce((sum, { payload }) => sum + payload.length, 0);
    for (let given = 1; given <= 7; given++) {
      client.say(FrameType.WINDOW_UPDATE, 0, 1, uint32(1));
      await until(`${given} bytes`, () => bytes() === given);
    }
    // "GET / 0" has seven: the end came with the last, or alone.
    await until("the end", () => (client.of(FrameType.DATA, 1).at(-1)!.flags & 1) === 1);
  });

  const floods: ReadonlyArray<readonly [string, (client: RawHttp2, nth: number) => void]> = [
    ["PING", (client) => client.say(FrameType.PING, 0, 0, Buffer.alloc(8))],
    ["SETTINGS", (client) => client.say(FrameType.SETTINGS, 0, 0)],
    [
      "PRIORITY",
      (client, nth) => client.say(FrameType.PRIORITY, 0, 2 * nth + 1, Buffer.alloc(5, 0)),
    ],
    [
      "rapid resets",
      (client, nth) => {
        client.ask(2 * nth + 1);
        client.say(FrameType.RST_STREAM, 0, 2 * nth + 1, uint32(ErrorCode.CANCEL));
      },
    ],
    ["streams that have to be reset", (client, nth) => client.ask(2 * nth + 1, [["X", "a"]])],
    [
      "empty DATA",
      (client, nth) => {
        if (nth === 0) client.ask(1, [], false);
        client.say(FrameType.DATA, 0, 1);
      },
    ],
    [
      "empty CONTINUATION",
      (client, nth) => {
        if (nth === 0) client.say(FrameType.HEADERS, 0, 1, client.block([[":method", "GET"]]));
        client.say(FrameType.CONTINUATION, 0, 1);
      },
    ],
    ["unknown frames", (client) => client.say(0x77, 0, 0)],
    ["small window updates", (client) => client.say(FrameType.WINDOW_UPDATE, 0, 0, uint32(1))],
  ];
  for (const [name, act] of floods) {
    it(`are calmed when they flood: ${name}`, async () => {
      const before = await metric("espalier_http2_floods_total", 'side="downstream"');
      const client = raw();
      for (let nth = 0; nth < 6_000 && !client.closed; nth++) {
        act(client, nth);
        if (nth % 200 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      await until("it is closed", () => client.closed || client.of(FrameType.GOAWAY).length > 0);
      const code = client.of(FrameType.GOAWAY)[0]?.payload.readUInt32BE(4);
      assert.ok(code === undefined || code === ErrorCode.ENHANCE_YOUR_CALM, String(code));
      const now = await metric("espalier_http2_floods_total", 'side="downstream"');
      assert.equal(now - before, 1);
      assert.equal((await ask(session(), { ":path": "/" })).headers[":status"], 200);
    });
  }

  it("are not in the way of that when they give up every second request", async () => {
    const client = session();
    for (let round = 0; round < 30; round++) {
      await Promise.all(
        Array.from({ length: 100 }, async (_, i) => {
          if (i % 2 === 0) return ask(client, { ":path": "/" });
          const stream = client.request({ ":path": "/never" });
          stream.on("error", () => {});
          stream.close(8);
          return new Promise((resolve) => stream.on("close", resolve));
        }),
      );
    }
    assert.equal((await ask(client, { ":path": "/" })).headers[":status"], 200);
    assert.ok(!client.destroyed);
  });

  it("carry a WebSocket by an extended CONNECT", async () => {
    const client = session();
    await new Promise((resolve) => client.once("remoteSettings", resolve));
    const stream = client.request({
      ":method": "CONNECT",
      ":protocol": "websocket",
      ":path": "/chat",
      "sec-websocket-version": "13",
    });
    const head = await new Promise<IncomingHttpHeaders & { ":status"?: number | undefined }>(
      (resolve) => stream.on("response", resolve),
    );
    assert.equal(head[":status"], 200);
    assert.equal(head["sec-websocket-accept"], undefined);
    // A text frame "hello", masked with zeroes; the echo has no mask.
    stream.write(Buffer.from([0x81, 0x85, 0, 0, 0, 0, ...Buffer.from("hello")]));
    const echo = await new Promise<Buffer>((resolve) => stream.once("data", resolve));
    assert.deepEqual([...echo], [0x81, 5, ...Buffer.from("hello")]);
    stream.close();
  });

  it("lose nothing when their port drains", async () => {
    const other = await startPlane(simpleSnapshot([(origin.address() as AddressInfo).port]));
    const client = connect(`http://127.0.0.1:${other.port}`);
    client.on("error", () => {});
    clients.push(client);
    let told = false;
    client.on("goaway", () => {
      told = true;
    });
    const asked: Array<Promise<Answer>> = [];
    for (let i = 0; i < 50; i++) asked.push(ask(client, { ":path": "/large" }));
    await until("some have begun", () => heard > 0);
    const drained = other.plane.drain(10_000);
    while (!told && !client.closed) {
      asked.push(ask(client, { ":path": "/" }));
      await new Promise((resolve) => setImmediate(resolve));
    }
    const answers = await Promise.all(asked);
    // What was refused was not acted upon, and can be sent again.
    const lost = answers.filter(({ headers, code }) => headers[":status"] !== 200 && code !== 7);
    assert.deepEqual(lost, []);
    await drained;
  });
});
