import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { after, before, describe, it } from "node:test";
import { until } from "#test/kit/processes.ts";
import { simpleSnapshot, startPlane } from "#test/kit/proxy.ts";

const sha = (bytes: Buffer | string): string => createHash("sha256").update(bytes).digest("hex");

/** Clients' connections read into memory that all share: what one sends must never show in another's request. */
describe("connections that share their read buffer", () => {
  let close: () => Promise<void>;
  let port = 0;
  /** While true the origin does not read bodies. */
  let holding = false;
  const held: IncomingMessage[] = [];

  before(async () => {
    const origin = createServer((request, response) => {
      const hash = createHash("sha256");
      request.on("data", (chunk) => hash.update(chunk));
      request.on("end", () => response.end(`${request.url} ${hash.digest("hex")}`));
      if (holding) {
        request.pause();
        held.push(request);
      }
    });
    await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", resolve));
    const { plane, port: open } = await startPlane(
      simpleSnapshot([(origin.address() as AddressInfo).port]),
    );
    port = open;
    close = async () => {
      await plane.drain(0);
      origin.closeAllConnections();
      origin.close();
    };
  });

  after(() => close());

  function client() {
    const socket = connect(port, "127.0.0.1");
    const heard = { text: "" };
    socket.on("data", (chunk) => {
      heard.text += chunk.toString("latin1");
    });
    return { socket, heard };
  }

  it("keep their own halves of heads", async () => {
    const all = Array.from({ length: 20 }, (_, i) => ({
      ...client(),
      path: `/${i}-${"x".repeat(i)}`,
    }));
    const heads = all.map(({ path }) => `GET ${path} HTTP/1.1\r\nHost: h${path.length}\r\n\r\n`);
    const longest = Math.max(...heads.map(({ length }) => length));
    for (let at = 0; at < longest; at += 7) {
      for (const [i, { socket }] of all.entries()) socket.write(heads[i]!.slice(at, at + 7));
      await new Promise((resolve) => setImmediate(resolve));
    }
    const empty = sha("");
    await until("all are answered", () =>
      all.every(({ heard, path }) => heard.text.endsWith(`${path} ${empty}`)),
    );
    for (const { socket } of all) socket.destroy();
  });

  it("keep their own bodies, also where the endpoint does not read", async () => {
    holding = true;
    const all = Array.from({ length: 8 }, (_, i) => ({
      ...client(),
      path: `/${i}`,
      body: randomBytes(3_000_000 + i),
    }));
    for (const { socket, path, body } of all) {
      socket.write(`POST ${path} HTTP/1.1\r\nHost: h\r\nContent-Length: ${body.length}\r\n\r\n`);
      socket.write(body);
    }
    await until("all are held up", () => held.length === all.length);
    holding = false;
    // Others read into the shared memory meanwhile.
    for (let i = 0; i < 50; i++) {
      const other = client();
      other.socket.write(`GET /other HTTP/1.1\r\nHost: ${"z".repeat(200)}\r\n\r\n`);
      await until("it is answered", () => other.heard.text.includes("/other"));
      other.socket.destroy();
    }
    for (const request of held.splice(0)) request.resume();
    await until("all are answered", () =>
      all.every(({ heard, path, body }) => heard.text.endsWith(`${path} ${sha(body)}`)),
    );
    for (const { socket } of all) socket.destroy();
    assert.equal(held.length, 0);
  });
});
