import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { afterEach, describe, it } from "node:test";
import { Metadata, type ServerWritableStream, status } from "@grpc/grpc-js";
import {
  type ClientReadableStream,
  GrpcWebClientBase,
  MethodDescriptor,
  type RpcError,
  type Status,
} from "grpc-web";
import { gatewayYaml, snapshotOf } from "#test/kit/gateway.ts";
import {
  callHttp1,
  callHttp2,
  type EchoMethods,
  messageOf,
  readFrames,
  startEcho,
  type WebAnswer,
} from "#test/kit/grpc_web_ends.ts";
import { get, TestOrigin } from "#test/kit/http.ts";
import { freePort } from "#test/kit/ports.ts";
import { until } from "#test/kit/processes.ts";
import { counterOf, startPlane } from "#test/kit/proxy.ts";
import { actAsBrowser } from "#test/kit/xml_http_request.ts";

const CORS =
  "{ type: CORS, cors: { allowOrigins: ['https://shop.example'], allowMethods: [POST], " +
  "allowHeaders: [content-type, grpc-timeout, x-grpc-web, x-user-agent], " +
  "exposeHeaders: [grpc-status, grpc-message] } }";
const BINARY = { "content-type": "application/grpc-web+proto", "x-grpc-web": "1" };
const TEXT = {
  ...{ "content-type": "application/grpc-web-text", accept: "application/grpc-web-text" },
  "x-grpc-web": "1",
};
const base64 = (bytes: Buffer): string => bytes.toString("base64");

/** How clients speak, and what they read. */
const CLIENTS = [
  { name: "bytes over HTTP/1.1", call: callHttp1, headers: BINARY, text: false },
  { name: "text over HTTP/1.1", call: callHttp1, headers: TEXT, text: true },
  { name: "bytes over HTTP/2", call: callHttp2, headers: BINARY, text: false },
  { name: "text over HTTP/2", call: callHttp2, headers: TEXT, text: true },
] as const;

/** Calls of gRPC-Web over real sockets to an endpoint of gRPC that knows nothing of it. */
describe("gRPC-Web", () => {
  const closers: Array<() => unknown> = [];
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });

  /** A proxy before an endpoint at `origin`. */
  async function planeTo(origin: number, appProtocol = "grpc") {
    const rules = [`{ filters: [${CORS}], backendRefs: [{ name: origin, port: 80 }] }`];
    const yaml = gatewayYaml(rules, { origin: [origin] });
    const started = await startPlane(
      snapshotOf(yaml.replace("port: 80 }]\n", `port: 80, appProtocol: ${appProtocol} }]\n`)),
    );
    closers.push(() => started.plane.drain(0));
    return started;
  }

  async function planeToEcho(methods: EchoMethods = {}) {
    const echo = await startEcho(methods);
    closers.push(echo.stop);
    return planeTo(echo.port);
  }

  /** A proxy before an endpoint that does with frames of HTTP/2 what it likes. */
  async function planeToStream(
    onStream: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void,
  ) {
    const server = createServer();
    const streams = new Set<ServerHttp2Stream>();
    server.on("stream", (stream, headers) => {
      const one = stream as ServerHttp2Stream;
      one.on("error", () => {});
      streams.add(one);
      onStream(one, headers);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    closers.push(() => {
      for (const { session } of streams) session?.destroy();
      return new Promise((resolve) => server.close(resolve));
    });
    return planeTo((server.address() as AddressInfo).port);
  }

  const ended = (answer: WebAnswer): Promise<void> =>
    until("the end of the answer", () => answer.state !== "open");

  /** A client that reads until it has `count` messages, then lets the endpoint go on. */
  function inLockstep(call: ServerWritableStream<Buffer, Buffer>, turns: Promise<void>[]): void {
    const trailers = new Metadata();
    trailers.set("x-sum", "3");
    trailers.set("x-raw-bin", Buffer.from([1, 2, 255]));
    const say = async (): Promise<void> => {
      for (const [i, turn] of turns.entries()) {
        call.write(Buffer.from("x".repeat(i)));
        await turn;
      }
      call.end(trailers);
    };
    void say();
  }

  for (const { name, call, headers, text } of CLIENTS) {
    it(`of ${name}: each message as it is said, then the trailers as a frame`, async () => {
      const turns = Array.from({ length: 4 }, () => Promise.withResolvers<void>());
      const { port } = await planeToEcho({
        Stream: (stream) =>
          inLockstep(
            stream,
            turns.map(({ promise }) => promise),
          ),
      });
      const asked = call(port, { path: "/test.Echo/Stream", headers });
      asked.end(text ? base64(messageOf("go")) : messageOf("go"));
      const answer = await asked.answer;
      for (const [i, turn] of turns.entries()) {
        await until(`message ${i}`, () => readFrames(answer.body(text)).messages.length === i + 1);
        assert.equal(readFrames(answer.body(text)).rest, 0);
        turn.resolve();
      }
      await ended(answer);
      assert.deepEqual([answer.state, answer.status], ["ended", 200]);
      assert.equal(answer.headers["content-type"], headers["content-type"]);
      assert.deepEqual([answer.headers["grpc-status"], answer.trailers], [undefined, {}]);
      const { messages, trailers, rest } = readFrames(answer.body(text));
      assert.deepEqual(messages.map(String), ["", "x", "xx", "xxx"]);
      assert.equal(rest, 0);
      const lines = trailers!.split("\r\n");
      assert.equal(lines.pop(), "");
      assert.deepEqual(lines.filter((line) => !line.startsWith("date:")).sort(), [
        "grpc-message:OK",
        "grpc-status:0",
        "x-raw-bin:AQL/",
        "x-sum:3",
      ]);
    });

    it(`of ${name}: megabytes both ways`, async () => {
      const { port, plane } = await planeToEcho();
      const content = randomBytes(3_000_001);
      const asked = call(port, { headers });
      asked.end(text ? base64(messageOf(content)) : messageOf(content));
      const answer = await asked.answer;
      await ended(answer);
      const { messages, trailers } = readFrames(answer.body(text));
      assert.ok(messages.length === 1 && messages[0]!.equals(content));
      assert.match(trailers!, /^grpc-status:0\r$/m);
      const metrics = await plane.metricsText();
      assert.equal(counterOf(metrics, "espalier_requests_total", 'code_class="2xx"'), 1);
    });

    it(`of ${name}: who goes away has its call cancelled`, async () => {
      let cancelled = false;
      const { port } = await planeToEcho({
        Stream: (stream) => {
          stream.on("cancelled", () => {
            cancelled = true;
          });
          // Over HTTP/1.1 it is what is still said to a client that tells that it is gone.
          const say = (): void => {
            if (!cancelled) stream.write(Buffer.from("more"), () => setTimeout(say, 5));
          };
          say();
        },
      });
      const asked = call(port, { path: "/test.Echo/Stream", headers });
      asked.end(text ? base64(messageOf("go")) : messageOf("go"));
      const answer = await asked.answer;
      await until("the first message", () => answer.chunks.length > 0);
      asked.leave();
      await until("the endpoint knows", () => cancelled);
    });

    it(`of ${name}: a failure of ours is a status, and so is a deadline`, async () => {
      const nobody = await planeTo(await freePort());
      const slow = await planeToEcho({ Unary: () => {} });
      const say = async (port: number, more: Record<string, string>) => {
        const asked = call(port, { headers: { ...headers, ...more } });
        asked.end(text ? base64(messageOf("go")) : messageOf("go"));
        const answer = await asked.answer;
        await ended(answer);
        assert.equal(answer.headers["content-type"], headers["content-type"]);
        assert.equal(answer.chunks.length, 0);
        return [answer.status, Number(answer.headers["grpc-status"])];
      };
      assert.deepEqual(await say(nobody.port, {}), [200, status.UNAVAILABLE]);
      assert.deepEqual(await say(slow.port, { "grpc-timeout": "50m" }), [
        ...[200, status.DEADLINE_EXCEEDED],
      ]);
    });
  }

  it("is heard by the endpoint as gRPC", async () => {
    const heard: IncomingHttpHeaders[] = [];
    const bodies: string[] = [];
    const { port } = await planeToStream((stream, headers) => {
      heard.push(headers);
      let body = "";
      stream.on("data", (chunk: Buffer) => {
        body += chunk.toString("latin1");
      });
      stream.on("end", () => {
        bodies.push(body);
        const head = { ":status": 200, "content-type": "application/grpc", trailer: "Grpc-Status" };
        stream.respond(head, { waitForTrailers: true });
        stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
        stream.end();
      });
    });
    const says = {
      ...TEXT,
      ...{ "content-type": "application/grpc-web-text+json;charset=utf-8", cookie: "a=b" },
      ...{ "x-user-agent": "grpc-web-javascript/0.1", "accept-encoding": "gzip, br" },
    };
    for (const call of [callHttp1, callHttp2]) {
      const body = `${base64(messageOf("a"))}${base64(messageOf("bc"))}`;
      const asked = call(port, { headers: { ...says, "content-length": String(body.length) } });
      asked.end(body);
      const answer = await asked.answer;
      await ended(answer);
      assert.equal(answer.headers["content-type"], "application/grpc-web-text+json");
      assert.equal(answer.headers["trailer"], undefined);
      assert.equal(readFrames(answer.body(true)).trailers, "grpc-status:0\r\n");
    }
    for (const headers of heard) {
      assert.equal(headers["content-type"], "application/grpc+json");
      assert.deepEqual([headers.te, headers["grpc-accept-encoding"]], ["trailers", "identity"]);
      assert.deepEqual(
        [headers.cookie, headers["x-user-agent"]],
        ["a=b", "grpc-web-javascript/0.1"],
      );
      for (const gone of ["x-grpc-web", "accept", "accept-encoding", "content-length"]) {
        assert.equal(headers[gone], undefined, gone);
      }
    }
    const message = Buffer.concat([messageOf("a"), messageOf("bc")]).toString("latin1");
    assert.deepEqual(bodies, [message, message]);
  });

  it("that is no base64 is a bad request, and no message reaches the endpoint", async () => {
    let messages = 0;
    const { port, plane } = await planeToEcho({
      Unary: ({ request }, answer) => {
        messages++;
        answer(null, request);
      },
    });
    const good = base64(messageOf("message"));
    const bad = [`${good.slice(0, 6)}!${good.slice(7)}`, good.slice(0, -1), "====", `${good}\n`];
    for (const call of [callHttp1, callHttp2]) {
      for (const body of bad) {
        const asked = call(port, { headers: TEXT });
        asked.write(body.slice(0, 3));
        asked.end(body.slice(3));
        const answer = await asked.answer;
        await ended(answer);
        assert.deepEqual(
          [answer.status, answer.body(false).toString()],
          [400, "400 bad_request\n"],
          body,
        );
      }
    }
    assert.equal(messages, 0);
    const metrics = await plane.metricsText();
    assert.equal(counterOf(metrics, "espalier_failures_total", 'kind="bad_request"'), 8);
    assert.equal(counterOf(metrics, "espalier_requests_inflight"), 0);
    const next = callHttp1(port, { headers: TEXT });
    next.end(good);
    assert.equal((await next.answer).status, 200);
  });

  it("that turns bad once it is answered is cut", async () => {
    for (const call of [callHttp1, callHttp2]) {
      let isReset = false;
      const { port } = await planeToStream((stream) => {
        stream.respond({ ":status": 200, "content-type": "application/grpc" });
        stream.write(messageOf("early"));
        stream.on("close", () => {
          isReset = stream.rstCode !== 0;
        });
      });
      const asked = call(port, { headers: TEXT });
      asked.write(base64(messageOf("one")));
      const answer = await asked.answer;
      await until("the first message", () => answer.chunks.length > 0);
      asked.write("!!!!");
      await ended(answer);
      await until("the endpoint knows", () => isReset);
      assert.equal(answer.state, "cut");
    }
  });

  it("that is answered with something else than gRPC has that as it is", async () => {
    const { port } = await planeToStream((stream) => {
      stream.respond({ ":status": 429, "content-type": "text/html" });
      stream.end("<p>later");
    });
    for (const { call, headers } of CLIENTS) {
      const asked = call(port, { headers });
      asked.end();
      const answer = await asked.answer;
      await ended(answer);
      assert.deepEqual([answer.status, answer.headers["content-type"]], [429, "text/html"]);
      assert.equal(answer.body(false).toString(), "<p>later");
    }
  });

  it("goes as it is to an endpoint of HTTP/1.1, which may speak it itself", async () => {
    const origin = new TestOrigin("web");
    const { port } = await planeTo(await origin.start(), "http");
    closers.push(() => origin.stop());
    const body = base64(messageOf("a"));
    const answer = await get(port, { method: "POST", path: "/x", headers: TEXT, body });
    assert.equal(answer.body, body);
    assert.equal(origin.seen[0]!.headers["content-type"], "application/grpc-web-text");
    assert.equal(origin.seen[0]!.headers["x-grpc-web"], "1");
    assert.equal(origin.seen[0]!.headers["te"], undefined);
  });

  it("is asked for before, and may be read after, by pages of another origin", async () => {
    const { port } = await planeToEcho();
    const origin = "https://shop.example";
    const preflight = await get(port, {
      ...{ method: "OPTIONS", path: "/test.Echo/Unary" },
      headers: {
        ...{ origin, "access-control-request-method": "POST" },
        "access-control-request-headers": "content-type,grpc-timeout,x-grpc-web,x-user-agent",
      },
    });
    assert.deepEqual(
      [preflight.status, preflight.headers["access-control-allow-origin"]],
      [204, origin],
    );
    assert.match(String(preflight.headers["access-control-allow-headers"]), /x-grpc-web/);
    const asked = callHttp1(port, { headers: { ...TEXT, origin } });
    asked.end(base64(messageOf("a")));
    const { headers } = await asked.answer;
    assert.equal(headers["access-control-allow-origin"], origin);
    assert.equal(headers["access-control-expose-headers"], "grpc-status, grpc-message");
  });

  describe("by the client of grpc-web", () => {
    actAsBrowser();
    class Bytes {
      readonly content: Uint8Array;
      constructor(content?: unknown) {
        this.content = content === undefined ? new Uint8Array() : (content as Uint8Array);
      }
    }
    const describeMethod = (name: string, kind: string) =>
      new MethodDescriptor(
        ...([`/test.Echo/${name}`, kind, Bytes, Bytes] as const),
        ({ content }: Bytes) => content,
        (content: Uint8Array) => new Bytes(content),
      );
    const UNARY = describeMethod("Unary", "unary");
    const STREAM = describeMethod("Stream", "server_streaming");
    const whole = (stream: ClientReadableStream<Bytes>) =>
      new Promise<{ heard: string[]; error: RpcError | undefined; status: Status | undefined }>(
        (resolve) => {
          const heard: string[] = [];
          let last: Status | undefined;
          stream.on("data", ({ content }) => heard.push(Buffer.from(content).toString()));
          stream.on("status", (said) => {
            last = said;
          });
          stream.on("error", (error) => resolve({ heard, error, status: last }));
          stream.on("end", () => resolve({ heard, error: undefined, status: last }));
        },
      );

    for (const format of ["text", "binary"]) {
      const client = new GrpcWebClientBase({ format });

      it(`unary, ${format}: messages, metadata, statuses`, async () => {
        const { port } = await planeToEcho({
          Unary: ({ request, metadata }, answer) => {
            if (request.length > 0) {
              answer(null, Buffer.from(`${request} ${metadata.get("x-key")}`));
              return;
            }
            const trailers = new Metadata();
            trailers.set("x-why", "empty");
            const error = { code: status.NOT_FOUND, details: "nichts für 100 %" };
            answer({ ...error, metadata: trailers, name: "", message: "" });
          },
        });
        const url = `http://127.0.0.1:${port}/test.Echo/Unary`;
        const ask = (content: string): Promise<Bytes> =>
          client.unaryCall(url, new Bytes(Buffer.from(content)), { "x-key": "v" }, UNARY);
        assert.equal(Buffer.from((await ask("hello")).content).toString(), "hello v");
        await assert.rejects(ask(""), (error: RpcError) => {
          assert.deepEqual([error.code, error.message], [status.NOT_FOUND, "nichts für 100 %"]);
          assert.equal(error.metadata["x-why"], "empty");
          return true;
        });
      });

      it(`a method that there is not, and an endpoint that there is not, ${format}`, async () => {
        const { port } = await planeToEcho();
        const nobody = await planeTo(await freePort());
        const ask = (at: number, name: string): Promise<unknown> => {
          const url = `http://127.0.0.1:${at}/test.Echo/${name}`;
          return client.unaryCall(url, new Bytes(), {}, describeMethod(name, "unary"));
        };
        await assert.rejects(ask(port, "None"), { code: status.UNIMPLEMENTED });
        await assert.rejects(ask(nobody.port, "Unary"), {
          code: status.UNAVAILABLE,
          message: "core.local: connect_refused",
        });
      });

      it(`streaming, ${format}: what came before an error, and the error`, async () => {
        const { port } = await planeToEcho({
          Stream: (call) => {
            for (let i = 0; i < 5; i++) call.write(Buffer.from(String(i)));
            call.emit("error", { code: status.DATA_LOSS, details: "torn" });
          },
        });
        const url = `http://127.0.0.1:${port}/test.Echo/Stream`;
        const { heard, error } = await whole(client.serverStreaming(url, new Bytes(), {}, STREAM));
        assert.deepEqual([error?.code, error?.message], [status.DATA_LOSS, "torn"]);
        assert.deepEqual(heard, ["0", "1", "2", "3", "4"]);
      });
    }

    it("streaming, text: each message before the next is said", async () => {
      const turns = Array.from({ length: 5 }, () => Promise.withResolvers<void>());
      const { port } = await planeToEcho({
        Stream: (call) =>
          inLockstep(
            call,
            turns.map(({ promise }) => promise),
          ),
      });
      const url = `http://127.0.0.1:${port}/test.Echo/Stream`;
      const client = new GrpcWebClientBase({ format: "text" });
      const stream = client.serverStreaming(url, new Bytes(), {}, STREAM);
      let count = 0;
      stream.on("data", () => turns[count++]!.resolve());
      const { heard, error, status: last } = await whole(stream);
      assert.deepEqual([heard.map((said) => said.length), error], [[0, 1, 2, 3, 4], undefined]);
      assert.deepEqual([last?.code, last?.metadata?.["x-sum"]], [status.OK, "3"]);
    });
  });
});
