import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer, type Server } from "node:http";
import { type ClientHttp2Session, connect } from "node:http2";
import type { AddressInfo } from "node:net";
import { after, before, describe, it } from "node:test";
import type { LocalPlane } from "#proxy/app/local_plane.ts";
import { simpleSnapshot, startPlane } from "#test/kit/proxy.ts";

const STREAMS = 1_000;
const BYTES = 1_048_576;

/** Each stream's own megabyte: a window on one long random text. */
const SOURCE = Buffer.alloc(BYTES + STREAMS * 64);
for (let i = 0, state = 1; i < SOURCE.length; i++) {
  state = (Math.imul(state, 1_103_515_245) + 12_345) | 0;
  SOURCE[i] = state >>> 16;
}
const bodyOf = (nth: number): Buffer => SOURCE.subarray(nth * 64, nth * 64 + BYTES);
const sum = (bytes: Buffer): string => {
  return `${bytes.length} ${createHash("md5").update(bytes).digest("hex")}`;
};

describe("a thousand streams of an HTTP/2 client", { timeout: 180_000 }, () => {
  let origin: Server;
  let plane: LocalPlane;
  let client: ClientHttp2Session;

  before(async () => {
    origin = createServer((asked, answer) => asked.pipe(answer));
    // Or it closes connections that are just taken up, and a POST is not sent twice.
    origin.keepAliveTimeout = 60_000;
    await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", resolve));
    const started = await startPlane(simpleSnapshot([(origin.address() as AddressInfo).port]));
    plane = started.plane;
    // It counts what its own streams have still to send.
    client = connect(`http://127.0.0.1:${started.port}`, { maxSessionMemory: 2_000 });
  });

  after(async () => {
    client.destroy();
    await plane.drain(0);
    origin.closeAllConnections();
    origin.close();
  });

  function echoed(nth: number): Promise<string> {
    return new Promise((resolve, reject) => {
      const stream = client.request({ ":method": "POST", ":path": `/${nth}` });
      const hash = createHash("md5");
      let bytes = 0;
      stream.on("data", (chunk: Buffer) => {
        hash.update(chunk);
        bytes += chunk.length;
      });
      stream.on("end", () => resolve(`${bytes} ${hash.digest("hex")}`));
      stream.on("error", reject);
      stream.end(bodyOf(nth));
    });
  }

  it("carry a megabyte each, both ways at once, every byte in its place", async () => {
    const sums = await Promise.all(Array.from({ length: STREAMS }, (_, nth) => echoed(nth)));
    for (const [nth, heard] of sums.entries()) assert.equal(heard, sum(bodyOf(nth)), `${nth}`);
    assert.ok(!client.closed);
  });
});
