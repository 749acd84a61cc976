import assert from "node:assert/strict";
import { type AddressInfo, connect, createServer } from "node:net";
import { afterEach, describe, it } from "node:test";
import { TimerWheel } from "#kernel/timer_wheel.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import type { Exchange } from "#proxy/exchange/exchange.ts";
import { HttpDate } from "#proxy/exchange/http_date.ts";
import { CONNECTION_LIMITS } from "#proxy/exchange/limits.ts";
import { anonymous } from "#proxy/exchange/peer.ts";
import { DownstreamConnection } from "#proxy/http1/downstream.ts";
import { until } from "#test/kit/processes.ts";

const close: Array<() => void> = [];
afterEach(() => {
  for (const act of close.splice(0)) act();
});

/** A connection under a clock that the test turns, and what its client has heard. */
async function open(onRequest: (exchange: Exchange) => void = () => {}, allowHalfOpen = false) {
  const clock = new VirtualClock();
  const wheel = new TimerWheel(clock);
  const refused: string[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const admitted = { peer: anonymous("client"), servedHosts: undefined };
    new DownstreamConnection(socket, admitted, {
      secure: false,
      recycles: true,
      listener: "http",
      handler: { onRequest },
      wheel,
      date: new HttpDate(clock),
      limits: CONNECTION_LIMITS,
      policy: { streamIdleMs: 300_000, forwarded: false, accessLogShare: undefined },
      self: "core.acme.mesh",
      onRefused: ({ kind }) => refused.push(kind),
      onClosed: () => {},
      onPreface: () => assert.fail("HTTP/2"),
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const client = connect({ port, host: "127.0.0.1", allowHalfOpen });
  const heard = { text: "", closed: false };
  client.on("data", (chunk) => {
    heard.text += chunk.toString();
  });
  client.on("error", () => {});
  client.on("close", () => {
    heard.closed = true;
  });
  close.push(() => {
    client.destroy();
    server.close();
  });
  await until("it is connected", () => wheel.size > 0);
  return { clock, client, heard, refused };
}

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 30));

describe("a client's connection", () => {
  it("is given up when its head does not come in time, however slowly it trickles", async () => {
    const { clock, client, heard, refused } = await open();
    client.write("GET / HT");
    for (let i = 0; i < 4; i++) {
      await turn();
      clock.advance(4_000);
      client.write("T");
    }
    await until("it is refused", () => refused.length > 0);
    assert.deepEqual(refused, ["head_timeout"]);
    await until("the client knows", () => heard.text.startsWith("HTTP/1.1 408 "));
  });

  it("is closed when nothing was asked for a while", async () => {
    const { clock, heard } = await open();
    clock.advance(CONNECTION_LIMITS.headTimeoutMs + 100);
    await until("it is closed", () => heard.closed);
    assert.equal(heard.text, "");
  });

  it("is given up when a body stops half way", async () => {
    const gone: string[] = [];
    const { clock, client, heard } = await open((exchange) => {
      exchange.observer = { onClientGone: ({ kind }) => gone.push(kind), onAnswerDrain: () => {} };
      exchange.readBody({ onBody: () => true, onBodyEnd: () => {} });
    });
    client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc");
    await turn();
    clock.advance(2 * CONNECTION_LIMITS.bodyTimeoutMs + 100);
    await turn();
    clock.advance(2 * CONNECTION_LIMITS.bodyTimeoutMs + 100);
    assert.deepEqual(gone, ["body_timeout"]);
    await until("the client knows", () => heard.text.startsWith("HTTP/1.1 408 "));
  });

  it("is given up when the client takes nothing of its answer, and kept while it waits for one", async () => {
    const gone: string[] = [];
    let running: Exchange | undefined;
    // More than any socket's buffers hold.
    const push = (): void => {
      while (running!.answerBody(Buffer.alloc(1_000_000)));
    };
    const { clock, client, heard } = await open((exchange) => {
      running = exchange;
      exchange.observer = { onClientGone: ({ kind }) => gone.push(kind), onAnswerDrain: push };
    });
    client.pause();
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    await until("it is asked", () => running !== undefined);
    for (let i = 0; i < 10; i++) clock.advance(CONNECTION_LIMITS.idleTimeoutMs);
    assert.deepEqual(gone, [], "a slow endpoint is not the client's fault");
    running!.answer({ status: 200, reason: "", fields: [], body: 100_000_000, upgrade: undefined });
    push();
    for (let i = 0; i < 10; i++) await turn();
    for (let i = 0; i < 3; i++) {
      clock.advance(CONNECTION_LIMITS.idleTimeoutMs + 100);
      await turn();
    }
    assert.deepEqual(gone, ["client_closed"]);
    client.resume();
    await until("the client knows", () => heard.closed);
  });

  it("that is over is read as long as its client sends, and not for ever", async () => {
    const { clock, client, heard } = await open(undefined, true);
    client.write("nonsense\r\n\r\n");
    await until("it is refused", () => heard.text.startsWith("HTTP/1.1 400 "));
    let seconds = 0;
    for (; !heard.closed && seconds < 60; seconds++) {
      client.write("more");
      await turn();
      clock.advance(1_000);
      await turn();
    }
    assert.ok(seconds > 20 && seconds < 40, String(seconds));
    const quiet = await open(undefined, true);
    quiet.client.write("nonsense\r\n\r\n");
    await until("it is refused", () => quiet.heard.text.startsWith("HTTP/1.1 400 "));
    for (let i = 0; i < 2; i++) quiet.clock.advance(2_100);
    await until("it is closed, as a reset shows", () => {
      quiet.client.write("late");
      return quiet.heard.closed;
    });
  });

  it("holds back requests that come while one is answered", async () => {
    const seen: string[] = [];
    const waiting: Exchange[] = [];
    const { client } = await open((exchange) => {
      seen.push(exchange.head.target);
      waiting.push(exchange);
    });
    client.write("GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n");
    await until("the first is asked", () => seen.length === 1);
    await turn();
    assert.deepEqual(seen, ["/1"]);
    waiting[0]!.answer({ status: 204, reason: "", fields: [], body: 0, upgrade: undefined });
    waiting[0]!.answerEnd(undefined);
    await until("the second is asked", () => seen.length === 2);
  });

  for (const [what, bytes] of [
    ["a head", "GET / HTTP/1.1\r\nhost: a\r\n"],
    ["a body", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc"],
    ["a chunk", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc"],
  ] as const) {
    it(`gets 400 if it ends inside ${what}`, async () => {
      const { client, heard, refused } = await open((exchange) => {
        exchange.observer = { onClientGone: () => {}, onAnswerDrain: () => {} };
        exchange.readBody({ onBody: () => true, onBodyEnd: () => assert.fail("it never ended") });
      });
      client.end(bytes);
      await until("it is closed", () => heard.closed);
      assert.match(heard.text, /^HTTP\/1\.1 400 Bad Request\r\n/);
      assert.deepEqual(refused, ["bad_request"]);
    });
  }

  it("is counted if it breaks off inside a head", async () => {
    const { client, refused } = await open();
    client.write("GET / HTTP/1.1\r\nhost");
    await turn();
    client.resetAndDestroy();
    await until("it is counted", () => refused.length > 0);
    assert.deepEqual(refused, ["client_closed"]);
  });

  it("may end its side after a body that the endpoint takes slowly", async () => {
    let ended = false;
    let running: Exchange | undefined;
    const { client, heard } = await open((exchange) => {
      running = exchange;
      exchange.observer = {
        onClientGone: () => assert.fail("it is there"),
        onAnswerDrain: () => {},
      };
      exchange.readBody({
        onBody: () => false,
        onBodyEnd: () => {
          ended = true;
        },
      });
    });
    client.end("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc");
    for (let i = 0; i < 3; i++) await turn();
    assert.equal(heard.text, "");
    running!.resumeBody();
    await until("the body has ended", () => ended);
    running!.answer({ status: 204, reason: "", fields: [], body: 0, upgrade: undefined });
    running!.answerEnd(undefined);
    await until("it is answered", () => heard.text.startsWith("HTTP/1.1 204 "));
  });

  it("stays idle after the empty line that some clients send behind a body", async () => {
    const { clock, client, heard, refused } = await open((exchange) => {
      exchange.answer({ status: 204, reason: "", fields: [], body: 0, upgrade: undefined });
      exchange.answerEnd(undefined);
    });
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n\r");
    await until("it is answered", () => heard.text !== "");
    client.write("\n");
    await turn();
    clock.advance(CONNECTION_LIMITS.headTimeoutMs + 100);
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    await until("the next is answered", () => heard.text.split("HTTP/1.1 204").length === 3);
    clock.advance(CONNECTION_LIMITS.idleTimeoutMs + 100);
    clock.advance(CONNECTION_LIMITS.idleTimeoutMs + 100);
    await until("it is closed", () => heard.closed);
    assert.deepEqual(refused, []);
  });

  it("is closed behind a switch that was refused if more was said already", async () => {
    const asked: string[] = [];
    const { client, heard } = await open((exchange) => {
      asked.push(exchange.head.target);
      exchange.answer({ status: 204, reason: "", fields: [], body: 0, upgrade: undefined });
      exchange.answerEnd(undefined);
    });
    const first = "GET /1 HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    client.write(`${first}GET /2 HTTP/1.1\r\nhost: a\r\n\r\n`);
    await until("it is closed", () => heard.closed);
    assert.match(
      heard.text,
      /^HTTP\/1\.1 204 No Content\r\ndate: [^\r]+\r\nconnection: close\r\n\r\n$/,
    );
    assert.deepEqual(asked, ["/1"]);
  });

  it("tells a client of HTTP/1.0 that it may go on", async () => {
    const { client, heard } = await open((exchange) => {
      exchange.answer({ status: 204, reason: "", fields: [], body: 0, upgrade: undefined });
      exchange.answerEnd(undefined);
    });
    client.write("GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n");
    await until("it is answered", () => heard.text.endsWith("connection: keep-alive\r\n\r\n"));
  });

  for (const bytes of ["GET /\r\n", "GET / HTTP/1.1\nhost", "\x16\x03\x01", "hello\0", "\n"]) {
    it(`is refused as soon as it says ${JSON.stringify(bytes)}`, async () => {
      const { client, heard, refused } = await open();
      client.write(bytes);
      await until("it is refused", () => heard.text.startsWith("HTTP/1.1 400 "));
      assert.deepEqual(refused, ["bad_request"]);
    });
  }
});
