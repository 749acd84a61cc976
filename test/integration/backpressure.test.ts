import assert from "node:assert/strict";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, describe, it } from "node:test";
import { gatewayYaml, snapshotOf } from "#test/kit/gateway.ts";
import { until } from "#test/kit/processes.ts";
import { simpleSnapshot, startPlane } from "#test/kit/proxy.ts";

const close: Array<() => unknown> = [];
afterEach(async () => {
  for (const act of close.splice(0).reverse()) await act();
});

async function endpoint(onSocket: (socket: Socket) => void): Promise<number> {
  const server: Server = createServer(onSocket);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  close.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function client(port: number): Promise<{ socket: Socket; heard: () => string }> {
  const socket = connect(port, "127.0.0.1");
  let heard = "";
  socket.on("data", (chunk) => {
    heard += chunk.toString("latin1");
  });
  socket.on("error", () => {});
  close.push(() => socket.destroy());
  await new Promise<void>((resolve) => socket.once("connect", resolve));
  return { socket, heard: () => heard };
}

describe("a client that asks and does not read", { timeout: 60_000 }, () => {
  it("gets no more answers than lie in buffers, then the others in their order", async () => {
    const { plane, port } = await startPlane(snapshotOf(gatewayYaml([REDIRECT], {})));
    close.push(() => plane.drain(0));
    const { socket, heard } = await client(port);
    socket.pause();
    const count = 40_000;
    let sent = 0;
    const send = (): void => {
      while (sent < count) {
        const text = Array.from({ length: 500 }, () => ask(`/${sent++}?${PADDING}`)).join("");
        if (socket.write(text)) continue;
        socket.once("drain", send);
        return;
      }
      socket.end();
    };
    send();
    const answered = async (): Promise<number> => {
      const metrics = await plane.metricsText();
      return Number(
        /espalier_requests_total\{service="",code_class="3xx"\} (\d+)/.exec(metrics)?.[1],
      );
    };
    // It stands still, long before all are answered.
    let before = -1;
    await until("nothing moves", async () => {
      const now = await answered();
      const still = now === before;
      before = now;
      return still && now > 0;
    });
    assert.ok(before < count, `${before} of ${count}`);
    socket.resume();
    await until("all are answered", () => heard().includes(`/to/${count - 1}?`));
    const places = [...heard().matchAll(/\/to\/(\d+)\?/g)].map(([, n]) => Number(n));
    assert.equal(places.length, count);
    assert.ok(places.every((n, i) => n === i));
  });
});

const REDIRECT =
  "{ filters: [{ type: RequestRedirect, requestRedirect: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /to } } }] }";
/** More than the buffers of a kernel, over all answers. */
const PADDING = "p".repeat(800);
const ask = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;

describe("a body that comes while a retry waits", { timeout: 60_000 }, () => {
  it("reaches the next endpoint whole, or not at all", async () => {
    const bodies: string[] = [];
    const good = await endpoint((socket) => {
      let said = "";
      socket.on("error", () => {});
      socket.on("data", (chunk) => {
        said += chunk.toString("latin1");
        if (!said.endsWith("0\r\n\r\n")) return;
        bodies.push(said.slice(said.indexOf("\r\n\r\n") + 4));
        socket.end("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
      });
    });
    const yaml = gatewayYaml(
      ["{ retry: { attempts: 3, backoff: 300ms }, backendRefs: [{ name: a, port: 80 }] }"],
      { a: [1, good] },
    );
    const { plane, port } = await startPlane(snapshotOf(yaml));
    close.push(() => plane.drain(0));
    for (let i = 0; i < 6; i++) {
      const { socket, heard } = await client(port);
      socket.write("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
      socket.write("5\r\nBEGIN\r\n");
      const piece = `2710\r\n${"x".repeat(10_000)}\r\n`;
      // One by one: more than is kept for a retry arrives while it waits.
      for (let n = 0; n < 20; n++) {
        socket.write(piece);
        await new Promise((resolve) => setImmediate(resolve));
      }
      socket.write("0\r\n\r\n");
      await until("it is answered", () => heard().includes("\r\n\r\n"));
    }
    assert.ok(bodies.length > 0);
    for (const body of bodies) {
      assert.match(body, /^5\r\nBEGIN\r\n/);
      assert.equal(body.match(/x/g)!.length, 200_000);
    }
  });
});

describe("an expectation", { timeout: 60_000 }, () => {
  it("that an HTTP/1.0 client may not have is still heard from the next request", async () => {
    let said = "";
    const origin = await endpoint((socket) => {
      socket.on("error", () => {});
      socket.on("data", (chunk) => {
        said += chunk.toString("latin1");
        if (said.endsWith("ok")) socket.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        else if (said.includes("100-continue")) socket.write("HTTP/1.1 100 Continue\r\n\r\n");
      });
    });
    const { plane, port } = await startPlane(simpleSnapshot([origin]));
    close.push(() => plane.drain(0));
    const { socket, heard } = await client(port);
    const fields =
      "Host: a\r\nConnection: keep-alive\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    socket.write(`POST / HTTP/1.0\r\n${fields}ok`);
    await until("it is answered", () => heard().includes("HTTP/1.1 200 "));
    assert.doesNotMatch(said, /expect/);
    socket.write(`POST / HTTP/1.1\r\n${fields}`);
    await until("it may go on", () => heard().includes("HTTP/1.1 100 "));
    socket.write("ok");
    await until("it is answered", () => heard().split("HTTP/1.1 200 ").length === 3);
  });
});
