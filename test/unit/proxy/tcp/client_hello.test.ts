import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { before, describe, it } from "node:test";
import { connect } from "node:tls";
import { seededRng } from "#kernel/rng.ts";
import { readClientHello } from "#proxy/tcp/client_hello.ts";

/** What OpenSSL's client says first. */
async function helloOf(options: object): Promise<Buffer> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const client = connect({ host: "127.0.0.1", port, ...options });
  client.on("error", () => {});
  const [socket] = await once(server, "connection");
  const [bytes] = (await once(socket, "data")) as [Buffer];
  client.destroy();
  socket.destroy();
  server.close();
  return bytes;
}

describe("ClientHello", () => {
  let named: Buffer;
  let nameless: Buffer;
  let old: Buffer;
  before(async () => {
    named = await helloOf({ servername: "Shop.Example.org", ALPNProtocols: ["h2", "http/1.1"] });
    nameless = await helloOf({});
    old = await helloOf({ servername: "old.example", maxVersion: "TLSv1.2" });
  });

  it("tells the server name, cut anywhere", () => {
    const hello = { kind: "hello", serverName: "shop.example.org" };
    assert.deepEqual(readClientHello(named), hello);
    assert.deepEqual(readClientHello(nameless), { kind: "hello", serverName: undefined });
    assert.deepEqual(readClientHello(old), { kind: "hello", serverName: "old.example" });
    for (let length = 0; length < named.length; length++) {
      assert.equal(readClientHello(named.subarray(0, length)).kind, "more", String(length));
    }
    assert.deepEqual(readClientHello(Buffer.concat([named, Buffer.from("more")])), hello);
  });

  it("may come in many records", () => {
    const message = named.subarray(5);
    const records: Buffer[] = [];
    for (let at = 0; at < message.length; at += 7) {
      const part = message.subarray(at, at + 7);
      records.push(Buffer.from([22, 3, 1, 0, part.length]), part);
    }
    assert.deepEqual(readClientHello(Buffer.concat(records)), readClientHello(named));
  });

  it("is refused if it is none", () => {
    const empty = Buffer.from([22, 3, 1, 0, 0]);
    const answer = Buffer.from([22, 3, 3, 0, 4, 2, 0, 0, 0]);
    const huge = Buffer.from([22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff]);
    for (const bytes of [
      Buffer.from("GET / HTTP/1.1\r\n"),
      Buffer.from([21, 3, 1]),
      empty,
      answer,
      huge,
    ]) {
      assert.equal(readClientHello(bytes).kind, "bad", bytes.toString("hex"));
    }
    const drip = Buffer.concat(
      Array.from({ length: 4_000 }, () => Buffer.from([22, 3, 1, 0, 1, 0])),
    );
    assert.equal(readClientHello(drip).kind, "bad");
    const two = Buffer.from(
      named.toString("latin1").replace("Shop.Example.org", "Shop\0Example.org"),
      "latin1",
    );
    assert.equal(readClientHello(two).kind, "bad");
  });

  it("never throws, whatever is changed in it", () => {
    const rng = seededRng(7);
    for (let i = 0; i < 20_000; i++) {
      const bytes = Buffer.from(named);
      for (let n = rng.below(6); n >= 0; n--) bytes[rng.below(bytes.length)] = rng.below(256);
      const found = readClientHello(bytes.subarray(0, rng.below(bytes.length + 1)));
      if (found.kind === "hello" && found.serverName !== undefined) {
        assert.match(found.serverName, /^[a-z0-9._-]{1,253}$/);
      }
    }
  });
});
