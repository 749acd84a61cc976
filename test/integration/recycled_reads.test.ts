import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { after, before, describe, it } from "node:test";
import { connect as connectTls } from "node:tls";
import { serverCertificate } from "#test/kit/certificates.ts";
import { gatewayYaml, snapshotOf } from "#test/kit/gateway.ts";
import { until } from "#test/kit/processes.ts";
import { startPlane } from "#test/kit/proxy.ts";

/** Of an answer that is joined with its head. */
const ANSWER_BYTES = 12_032;
const sha = (bytes: Buffer | string): string => createHash("sha256").update(bytes).digest("hex");

const base64 = (text: string): string => Buffer.from(text).toString("base64");

/** @param port of the origin. */
async function twoListeners(port: number): Promise<string> {
  const { certificate, key } = await serverCertificate("shop.example");
  const https =
    "{ name: https, port: 0, protocol: HTTPS, tls: { certificateRefs: [{ name: shop }] } }";
  return `${gatewayYaml(["{ backendRefs: [{ name: origin, port: 80 }] }"], {
    origin: [port],
  }).replace("protocol: HTTP }]", `protocol: HTTP }, ${https}]`)}---
apiVersion: v1
kind: Secret
metadata: { name: shop }
type: kubernetes.io/tls
data: { tls.crt: ${base64(certificate)}, tls.key: ${base64(key)} }
`;
}

/** What a request of this path is answered with: no two have a piece in common. */
function patternOf(path: string, length: number): Buffer {
  const line = Buffer.alloc(64);
  const body = Buffer.alloc(length);
  for (let at = 0; at < length; at += line.length) {
    line.fill(" ").write(`${path} ${at}`);
    line.copy(body, at);
  }
  return body;
}

/** Clients' connections read into memory that all share: what one sends must never show in another's request. */
describe("connections that share their buffers in the clear", () => sharing(false));
describe("connections that share their buffers over TLS", () => sharing(true));

function sharing(isTls: boolean): void {
  let close: () => Promise<void>;
  let port = 0;
  /** While true the origin does not read bodies. */
  let holding = false;
  const held: IncomingMessage[] = [];

  before(async () => {
    const origin = createServer((request, response) => {
      if (request.url?.startsWith("/pattern")) {
        const body = patternOf(request.url, ANSWER_BYTES);
        response.writeHead(200, { "x-long": "y".repeat(9_000), "content-length": body.length });
        response.end(body);
        return;
      }
      const hash = createHash("sha256");
      request.on("data", (chunk) => hash.update(chunk));
      request.on("end", () => response.end(`${request.url} ${hash.digest("hex")}`));
      if (holding) {
        request.pause();
        held.push(request);
      }
    });
    await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", resolve));
    const file = await twoListeners((origin.address() as AddressInfo).port);
    const { plane, statuses } = await startPlane(snapshotOf(file));
    port = statuses[isTls ? 1 : 0]!.bound!.port;
    close = async () => {
      await plane.drain(0);
      origin.closeAllConnections();
      origin.close();
    };
  });

  after(() => close());

  function client() {
    const place = { port, host: "127.0.0.1" };
    const socket = isTls ? connectTls({ ...place, rejectUnauthorized: false }) : connect(place);
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

  it("keep their own answers, also where the client does not read", async () => {
    const all = Array.from({ length: 4 }, (_, i) => ({ ...client(), name: `/pattern${i}` }));
    const paths = Array.from({ length: 400 }, (_, i) => `/${i}`);
    for (const { socket, name } of all) {
      socket.pause();
      const asks = paths.map((path) => `GET ${name}${path} HTTP/1.1\r\nHost: h\r\n\r\n`);
      socket.write(asks.join(""));
    }
    // Others are answered out of the shared memory meanwhile.
    for (let i = 0; i < 20; i++) {
      const other = client();
      const path = `/pattern/other${i}`;
      other.socket.write(`GET ${path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`);
      const expected = patternOf(path, ANSWER_BYTES).latin1Slice();
      await until("it is answered", () => other.heard.text.endsWith(expected));
      other.socket.destroy();
    }
    for (const { socket } of all) socket.resume();
    const count = paths.length * ANSWER_BYTES;
    await until("all are answered", () => all.every(({ heard }) => heard.text.length > count));
    for (const { socket, heard, name } of all) {
      const last = patternOf(`${name}${paths.at(-1)}`, ANSWER_BYTES).latin1Slice();
      await until("it is answered to its end", () => heard.text.endsWith(last));
      const bodies = heard.text.split(/HTTP\/1\.1 200 OK\r\n(?:[^\r\n]+\r\n)+\r\n/).slice(1);
      const expected = paths.map((path) => patternOf(name + path, ANSWER_BYTES).latin1Slice());
      assert.deepEqual(bodies, expected);
      socket.destroy();
    }
  });
}
