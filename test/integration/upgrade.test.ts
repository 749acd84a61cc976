import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer as createHttp } from "node:http";
import { connect as connectHttp2, type IncomingHttpHeaders } from "node:http2";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { afterEach, describe, it } from "node:test";
import { WebSocket, WebSocketServer } from "ws";
import { rawExchange } from "#test/kit/http.ts";
import { until } from "#test/kit/processes.ts";
import { counterOf, simpleSnapshot, startPlane } from "#test/kit/proxy.ts";

const close: Array<() => Promise<unknown> | unknown> = [];
afterEach(async () => {
  for (const act of close.splice(0).reverse()) await act();
});

async function rawOrigin(answer: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    answer(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  close.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

/** Also by a reset, which `once` would take for a failure. */
function closed(socket: Socket): Promise<unknown> {
  return new Promise((resolve) => socket.once("close", resolve));
}

async function proxyTo(port: number) {
  const { plane, port: proxy } = await startPlane(simpleSnapshot([port]));
  close.push(() => plane.drain(0));
  return { plane, proxy };
}

/** An origin that switches to a protocol which sends everything back, and ends when its peer does. */
function echo(protocol = "echo"): Promise<number> {
  return rawOrigin((socket) => {
    let head = "";
    const onHead = (chunk: Buffer): void => {
      head += chunk.toString("latin1");
      const end = head.indexOf("\r\n\r\n");
      if (end < 0) return;
      socket.off("data", onHead);
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: ${protocol}\r\nx-a: b\r\n\r\nhello:`,
      );
      socket.write(head.slice(end + 4));
      socket.on("data", (data) => {
        if (!socket.write(data)) socket.pause();
      });
      socket.on("drain", () => socket.resume());
      socket.on("end", () => socket.end("bye"));
    };
    socket.on("data", onHead);
  });
}

const ASK =
  "GET /x HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: echo\r\n\r\n";

describe("an upgrade", { timeout: 60_000 }, () => {
  it("becomes a tunnel both ways, with bytes that came early and half-closes", async () => {
    const { proxy } = await proxyTo(await echo());
    const socket = connect({ port: proxy, host: "127.0.0.1", allowHalfOpen: true });
    let said = "";
    socket.on("data", (chunk) => {
      said += chunk.toString("latin1");
    });
    socket.write(`${ASK}early,`);
    await until("the switch", () => said.includes("early,"));
    assert.match(said, /^HTTP\/1\.1 101 Switching Protocols\r\n/);
    assert.match(said, /connection: upgrade\r\nupgrade: echo\r\n/i);
    socket.write("late,");
    await until("the echo", () => said.endsWith("late,"));
    socket.end("last,");
    await once(socket, "end");
    assert.ok(said.endsWith("\r\n\r\nhello:early,late,last,bye"), said);
  });

  it("moves much data in both directions while either side reads slowly", async () => {
    const { proxy } = await proxyTo(await echo());
    const socket = connect({ port: proxy, host: "127.0.0.1", allowHalfOpen: true });
    const chunk = Buffer.alloc(1_048_576, "x");
    let got = 0;
    socket.on("data", (data: Buffer) => {
      got += data.length;
      if (got % 7 !== 0) return;
      socket.pause();
      setImmediate(() => socket.resume());
    });
    socket.write(ASK);
    for (let i = 0; i < 32; i++) if (!socket.write(chunk)) await once(socket, "drain");
    socket.end();
    await once(socket, "end");
    assert.ok(got > 32 * chunk.length, String(got));
  });

  it("ends both sides when one is reset", async () => {
    const sockets: Socket[] = [];
    const port = await rawOrigin((socket) => {
      sockets.push(socket);
      socket.once("data", () =>
        socket.write("HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"),
      );
    });
    const { proxy } = await proxyTo(port);
    const first = connect(proxy, "127.0.0.1");
    first.on("error", () => {});
    first.write(ASK);
    await once(first, "data");
    sockets[0]!.resetAndDestroy();
    await closed(first);
    const second = connect(proxy, "127.0.0.1");
    second.on("error", () => {});
    second.write(ASK);
    await once(second, "data");
    const gone = closed(sockets[1]!);
    second.resetAndDestroy();
    await gone;
  });

  it("that is declined leaves an ordinary connection", async () => {
    const port = await rawOrigin((socket) => {
      socket.on("data", () => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno"));
    });
    const { proxy } = await proxyTo(port);
    const next = "GET /second HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    const socket = connect(proxy, "127.0.0.1");
    close.push(() => socket.destroy());
    let said = "";
    socket.on("data", (chunk) => {
      said += chunk.toString("latin1");
    });
    socket.write(ASK);
    await until("it is declined", () => said.endsWith("no"));
    socket.write(next);
    await until("the next is answered", () => said.match(/HTTP\/1\.1 200/g)?.length === 2);
  });

  it("is refused where nobody asked, or nobody says to what", async () => {
    for (const [ask, answer] of [
      ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "connection: upgrade\r\nupgrade: echo\r\n"],
      [ASK, "connection: upgrade\r\n"],
      [ASK, "upgrade: echo\r\n"],
    ]) {
      const port = await rawOrigin((socket) => {
        socket.on("data", () => socket.write(`HTTP/1.1 101 x\r\n${answer}\r\nsecret`));
      });
      const { proxy } = await proxyTo(port);
      const said = await rawExchange(proxy, ask!, 500);
      assert.match(said, /^HTTP\/1\.1 502 /);
      assert.ok(!said.includes("secret"), said);
    }
  });

  it("never asks an endpoint for what nobody here could judge", async () => {
    const heads: string[] = [];
    const port = await rawOrigin((socket) => {
      socket.on("data", (chunk) => {
        heads.push(chunk.toString("latin1"));
        socket.write("HTTP/1.1 204 x\r\n\r\n");
      });
    });
    const { proxy } = await proxyTo(port);
    const ask = (fields: string): Promise<string> =>
      rawExchange(
        proxy,
        `GET / HTTP/1.1\r\nhost: a\r\nconnection: close, upgrade\r\n${fields}\r\n`,
      );
    await ask("upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n");
    await ask("upgrade: websocket, H2C\r\n");
    await ask("upgrade: h2\r\n");
    await rawExchange(
      proxy,
      "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: close\r\n\r\n",
    );
    await rawExchange(
      proxy,
      "GET / HTTP/1.0\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    );
    assert.equal(heads.length, 5);
    for (const head of heads) assert.doesNotMatch(head, /upgrade/i, head);
  });

  it("carries WebSockets: text, binary, large, fragments, pings, close codes", async () => {
    const http = createHttp();
    const server = new WebSocketServer({ server: http, perMessageDeflate: true });
    server.on("connection", (socket, request) => {
      socket.send(`at ${request.url}`);
      socket.on("message", (data, isBinary) => {
        if (String(data) === "close me") socket.close(4_001, "as asked");
        else socket.send(data, { binary: isBinary });
      });
    });
    await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
    close.push(() => {
      for (const client of server.clients) client.terminate();
      http.close();
    });
    const { proxy, plane } = await proxyTo((http.address() as AddressInfo).port);
    const client = new WebSocket(`ws://127.0.0.1:${proxy}/chat?room=1`);
    const messages: Buffer[] = [];
    client.on("message", (data: Buffer) => messages.push(data));
    await once(client, "open");
    await until("the greeting", () => String(messages[0]) === "at /chat?room=1");
    const big = Buffer.alloc(3_000_000, "ü");
    client.send("text");
    client.send(big);
    client.send("frag", { fin: false });
    client.send("ment", { fin: true });
    await until("the echoes", () => messages.length === 4);
    assert.equal(String(messages[1]), "text");
    assert.ok(messages[2]!.equals(big));
    assert.equal(String(messages[3]), "fragment");
    client.ping("are you there");
    const [pong] = (await once(client, "pong")) as [Buffer];
    assert.equal(String(pong), "are you there");
    assert.match(
      await plane.metricsText(),
      /espalier_requests_inflight\{service="origin.shop"\} 1/,
    );
    client.send("close me");
    const [code, reason] = (await once(client, "close")) as [number, Buffer];
    assert.deepEqual([code, String(reason)], [4_001, "as asked"]);
    const text = (): Promise<string> => plane.metricsText();
    await until("it is over", async () =>
      (await text()).includes('inflight{service="origin.shop"} 0'),
    );
    assert.match(
      await text(),
      /espalier_requests_total\{service="origin.shop",code_class="1xx"\} 1/,
    );
  });

  it("to a WebSocket needs the proof that the endpoint has read the key, whoever has made it", async () => {
    const proofOf = (key: string): string =>
      createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    const accept = (value: string): string => `sec-websocket-accept: ${value}\r\n`;
    const cases: ReadonlyArray<readonly [boolean, (key: string) => string]> = [
      [true, (key) => accept(proofOf(key))],
      [false, (key) => accept(proofOf(`${key}x`))],
      [false, (key) => accept(proofOf(key).toLowerCase())],
      [false, (key) => accept(proofOf(key)) + accept(proofOf(key))],
      [false, () => ""],
    ];
    for (const [isProof, fieldsFor] of cases) {
      const keys: string[] = [];
      const port = await rawOrigin((socket) => {
        socket.on("data", (chunk) => {
          const [, key = ""] = /sec-websocket-key: (.*)\r\n/i.exec(chunk.toString("latin1")) ?? [];
          keys.push(key);
          const fields = `upgrade: websocket\r\nconnection: upgrade\r\n${fieldsFor(key)}`;
          socket.write(`HTTP/1.1 101 Switching Protocols\r\n${fields}\r\nsecret`);
        });
      });
      const { proxy, plane } = await proxyTo(port);
      const what = fieldsFor("key");
      const asked = await extendedConnect(proxy);
      assert.equal(asked.status, isProof ? 200 : 502, what);
      assert.equal(asked.body.includes("secret"), isProof, what);
      assert.equal(Buffer.from(keys[0]!, "base64").length, 16);
      assert.equal(asked.proof, undefined);
      const said = await rawExchange(
        proxy,
        `GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: abc=\r\n\r\n`,
        500,
      );
      assert.match(said, isProof ? /^HTTP\/1\.1 101 [\s\S]*secret/ : /^HTTP\/1\.1 502 /);
      const failed = counterOf(
        await plane.metricsText(),
        "espalier_failures_total",
        'kind="bad_answer"',
      );
      assert.equal(failed > 0, !isProof, what);
    }
  });
});

/** Asks for a WebSocket as an HTTP/2 client does, until its head and, of a tunnel, the first bytes are there. */
async function extendedConnect(port: number) {
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  close.push(() => session.destroy());
  session.on("error", () => {});
  await once(session, "remoteSettings");
  const stream = session.request({
    ":method": "CONNECT",
    ":protocol": "websocket",
    ":path": "/",
    "sec-websocket-version": "13",
  });
  let body = "";
  stream.on("data", (chunk) => {
    body += String(chunk);
  });
  const [head] = (await once(stream, "response")) as [IncomingHttpHeaders];
  await until("the first of its body", () => body !== "");
  const { ":status": status, "sec-websocket-accept": proof } = head as typeof head & {
    ":status": number;
  };
  return { status, proof, body };
}
