import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { request } from "node:http";
import {
  constants,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import { type AddressInfo, createServer as createNetServer } from "node:net";
import { afterEach, describe, it } from "node:test";
import type { Snapshot } from "#model/snapshot.ts";
import type { LocalPlane } from "#proxy/app/local_plane.ts";
import { ErrorCode, writeGoaway, writeSettings } from "#proxy/http2/frames.ts";
import { gatewayYaml, snapshotOf } from "#test/kit/gateway.ts";
import { until } from "#test/kit/processes.ts";
import { counterOf, startPlane } from "#test/kit/proxy.ts";

type OnStream = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

const sha = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

interface Answer {
  readonly status: number;
  readonly body: Buffer;
  readonly headers: IncomingHttpHeaders;
  readonly trailers: NodeJS.Dict<string>;
  /** The answer was cut short. */
  readonly cut: boolean;
}

/** Everything goes to an endpoint at `port` that speaks HTTP/2. */
function h2cTo(port: number): Snapshot {
  const yaml = gatewayYaml(["{ backendRefs: [{ name: origin, port: 80 }] }"], { origin: [port] });
  return snapshotOf(
    yaml.replace("ports: [{ port: 80 }]", "ports: [{ port: 80, appProtocol: kubernetes.io/h2c }]"),
  );
}

/** Requests that go on over HTTP/2, to node:http2 and to servers that break off. */
describe("an endpoint that speaks HTTP/2", () => {
  const closers: Array<() => Promise<unknown> | undefined> = [];
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });

  async function start(onStream: OnStream) {
    // Node refuses streams of a session that has more than 10 MB to send.
    const server: Http2Server = createServer({ maxSessionMemory: 1_000 });
    const sessions = new Set<ServerHttp2Session>();
    server.on("session", (session) => {
      sessions.add(session);
      session.on("error", () => {});
      session.on("close", () => sessions.delete(session));
    });
    server.on("stream", (stream, headers) => {
      stream.on("error", () => {});
      onStream(stream as ServerHttp2Stream, headers);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port: origin } = server.address() as AddressInfo;
    const { plane, port } = await startPlane(h2cTo(origin));
    closers.push(async () => {
      await plane.drain(0);
      for (const session of sessions) session.destroy();
      await new Promise((resolve) => server.close(resolve));
    });
    return { plane, port, sessions };
  }

  function ask(
    port: number,
    about: { method?: string; path?: string; body?: Buffer; headers?: Record<string, string> } = {},
  ): Promise<Answer> {
    const { method = "GET", path = "/", body, headers = {} } = about;
    return new Promise((resolve, reject) => {
      const place = { host: "127.0.0.1", port, agent: false as const };
      const sent = request({ ...place, method, path, headers }, (answer) => {
        const chunks: Buffer[] = [];
        const end = (cut: boolean): void =>
          resolve({
            status: answer.statusCode!,
            body: Buffer.concat(chunks),
            headers: answer.headers as IncomingHttpHeaders,
            trailers: answer.trailers,
            cut,
          });
        answer.on("data", (chunk: Buffer) => chunks.push(chunk));
        answer.on("end", () => end(false));
        answer.on("error", () => end(true));
      });
      sent.on("error", reject);
      sent.end(body);
    });
  }

  const metric = (plane: LocalPlane, name: string, labels = ""): Promise<number> =>
    plane.metricsText().then((text) => counterOf(text, name, labels));

  it("gets heads, bodies and trailers whole, many at a time on few connections", async () => {
    const { port, sessions, plane } = await start((stream, headers) => {
      const hash = createHash("sha256");
      stream.on("data", (chunk) => hash.update(chunk));
      stream.on("end", () => {
        stream.respond(
          { ":status": 200, "x-path": headers[":path"], "x-host": headers[":authority"] },
          { waitForTrailers: true },
        );
        stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": hash.digest("hex") }));
        stream.end(Buffer.alloc(300_000, headers[":path"]));
      });
    });
    const bodies = Array.from({ length: 40 }, (_, i) => randomBytes(i * 20_000));
    const answers = await Promise.all(
      bodies.map((body, i) =>
        ask(port, { method: "POST", path: `/${i}`, body, headers: { host: "a", te: "trailers" } }),
      ),
    );
    for (const [i, { status, body, headers, trailers, cut }] of answers.entries()) {
      assert.deepEqual(
        [status, cut, headers["x-path"], headers["x-host"]],
        [200, false, `/${i}`, "a"],
      );
      assert.equal(trailers["x-sum"], sha(bodies[i]!));
      assert.ok(body.equals(Buffer.alloc(300_000, `/${i}`)));
    }
    assert.ok(sessions.size <= 4, `${sessions.size} connections`);
    assert.equal(await metric(plane, "espalier_http2_streams_total", 'side="upstream"'), 40);
  });

  it("that refuses a stream is asked again, whatever the method", async () => {
    let asked = 0;
    const { port, plane } = await start((stream) => {
      if (++asked % 2 === 1) {
        stream.close(constants.NGHTTP2_REFUSED_STREAM);
        return;
      }
      stream.respond({ ":status": 200 });
      stream.end("second");
    });
    const answer = await ask(port, { method: "POST", body: Buffer.from("x") });
    assert.deepEqual([answer.status, answer.body.toString()], [200, "second"]);
    const code = 'direction="received",code="REFUSED_STREAM"';
    assert.equal(await metric(plane, "espalier_http2_resets_total", code), 1);
  });

  it("that goes away finishes what it has, and loses nobody", async () => {
    let asked = 0;
    const { port, sessions } = await start((stream) => {
      asked++;
      setImmediate(() => {
        if (stream.destroyed) return;
        stream.respond({ ":status": 200 });
        stream.end("ok");
      });
      // Every tenth request is the last one of its connection.
      if (asked % 10 === 0) stream.session!.goaway(0, stream.id!);
    });
    for (let round = 0; round < 10; round++) {
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => ask(port, { method: "POST", body: Buffer.from("x") })),
      );
      assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
    }
    assert.ok(sessions.size <= 40);
  });

  it("that says GOAWAY at once is an error, not a hang", async () => {
    const server = createNetServer((socket) => {
      socket.on("error", () => {});
      const said = Buffer.alloc(64);
      const at = writeSettings(said, 0, []);
      socket.write(said.subarray(0, writeGoaway(said, at, 0, ErrorCode.NO_ERROR)));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { plane, port } = await startPlane(h2cTo((server.address() as AddressInfo).port));
    closers.push(async () => {
      await plane.drain(0);
      server.close();
    });
    assert.equal((await ask(port, { method: "POST", body: Buffer.from("x") })).status, 503);
  });

  it("that resets after its head, or in the middle of the body, is heard as a cut answer", async () => {
    const { port } = await start((stream, headers) => {
      stream.respond({ ":status": 200, "content-length": "1000" });
      if (headers[":path"] === "/data") {
        stream.write("x".repeat(10), () => stream.close(constants.NGHTTP2_INTERNAL_ERROR));
      } else setTimeout(() => stream.close(constants.NGHTTP2_INTERNAL_ERROR), 20);
    });
    for (const path of ["/head", "/data"]) {
      const { cut, body } = await ask(port, { path, method: "POST", body: Buffer.from("x") });
      assert.ok(cut, path);
      assert.ok(body.length < 1_000);
    }
  });

  it("that resets before an answer is a 502, and asked again if that is safe", async () => {
    let asked = 0;
    const { port } = await start((stream, headers) => {
      asked++;
      if (headers[":method"] === "GET" && asked > 1) {
        stream.respond({ ":status": 200 });
        stream.end("second");
      } else stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    });
    assert.equal((await ask(port)).body.toString(), "second");
    asked = 0;
    const post = await ask(port, { method: "POST", body: Buffer.from("x") });
    assert.equal(post.status, 502);
    assert.equal(asked, 1);
  });

  it("that is slow to read, or whose answer is read slowly, holds nobody else up", async () => {
    const { port } = await start((stream, headers) => {
      if (headers[":path"] === "/stuck") {
        stream.pause();
        return;
      }
      stream.respond({ ":status": 200 });
      stream.end(headers[":path"] === "/large" ? Buffer.alloc(20_000_000) : "ok");
    });
    const place = { host: "127.0.0.1", port, agent: false as const };
    const stuck = Array.from({ length: 20 }, () => {
      const sent = request({ ...place, method: "POST", path: "/stuck" });
      sent.on("error", () => {});
      sent.write(Buffer.alloc(1_000_000));
      return sent;
    });
    const unread = Array.from({ length: 20 }, () => {
      const sent = request({ ...place, path: "/large" }, (answer) => answer.pause());
      sent.on("error", () => {});
      sent.end();
      return sent;
    });
    for (let i = 0; i < 50; i++) assert.equal((await ask(port)).body.toString(), "ok");
    for (const sent of [...stuck, ...unread]) sent.destroy();
  });

  it("hears at once that a client has gone", async () => {
    let closed: number | undefined;
    const { port, plane } = await start((stream) => {
      stream.on("close", () => {
        closed = stream.rstCode;
      });
    });
    const sent = request({ host: "127.0.0.1", port, agent: false });
    sent.on("error", () => {});
    sent.end();
    await until(
      "it is asked",
      async () => (await metric(plane, "espalier_requests_inflight")) === 1,
    );
    // An end of its side alone would leave it reading.
    sent.socket!.resetAndDestroy();
    await until("it hears of it", () => closed === constants.NGHTTP2_CANCEL);
  });

  it("is told how long a gRPC call has left, and what fails is told in gRPC's words", async () => {
    const seen: string[] = [];
    const { port } = await start((stream, headers) => {
      seen.push(String(headers["grpc-timeout"]));
      if (headers[":path"] !== "/never") stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    });
    const headers = { "content-type": "application/grpc", "grpc-timeout": "300m", te: "trailers" };
    const call = { method: "POST", body: Buffer.from("x"), headers };
    const late = await ask(port, { ...call, path: "/never" });
    assert.deepEqual([late.status, late.headers["grpc-status"]], [200, "4"]);
    const broken = await ask(port, { ...call, path: "/broken" });
    assert.deepEqual([broken.status, broken.headers["grpc-status"]], [200, "14"]);
    for (const said of seen) assert.match(said, /^(?:300|2\d\d)m$/);
  });
});
