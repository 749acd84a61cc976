import { createServer, request } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { type AddressInfo, connect, createServer as createNet, type Socket } from "node:net";
import { DelayLine } from "#bench/scale/delay_line.ts";
import { RotatingIdentity } from "#certs/identity/identity.ts";
import { gatewayId, workloadId } from "#certs/identity/spiffe_id.ts";
import { systemClock } from "#kernel/clock.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { seededRng } from "#kernel/rng.ts";
import type { ServiceName } from "#model/names.ts";
import { parseSnapshot, type Snapshot } from "#model/snapshot.ts";
import { LocalPlane } from "#proxy/app/local_plane.ts";
import { inboundSnapshot } from "#proxy/app/sidecar.ts";
import { cluster, MESH, must, TestTree } from "#test/kit/mesh.ts";
import { simpleSnapshot } from "#test/kit/proxy.ts";

/*
 * One stream over a way of 80 ms there and back: what reaches its end through our proxy, and over the link between two
 * proxies, as a share of what one TCP connection alone reaches on the same way. The way is a relay that delays bytes
 * and lets so many pass in a second: TCP's own windows end at the relay, those of HTTP/2 do not.
 *
 *   make long-link ARGS='100 400'   megabits per second
 */

const DELAY_MS = 40;
/** Long enough for windows to grow, which takes round trips. */
const FOR_SECONDS = 6;
/** A client of HTTP/2 whose windows are no limit. */
const CLIENT_WINDOW = 33_554_432;
const HOST = "large.shop.svc.acme.mesh";
const EU = cluster("eu");
const CHUNK = Buffer.alloc(65_536, "x");

const closers: Array<() => unknown> = [];
const tree = new TestTree();

async function planeOf(snapshot: Snapshot, identity?: RotatingIdentity): Promise<number> {
  const plane = new LocalPlane({
    ...{ cluster: EU, clock: systemClock, rng: seededRng(1), log: new MemoryLogger() },
    ...{ reusePort: false, ...(identity === undefined ? {} : { identity }) },
  });
  closers.push(() => plane.drain(0));
  plane.apply(snapshot);
  return (await plane.settled())[0]!.bound!.port;
}

/** A line to `port` of its own for each measurement. */
async function lineTo(port: number, bytesPerSecond: number): Promise<number> {
  const line = new DelayLine(port, DELAY_MS, bytesPerSecond);
  closers.push(() => line.close());
  return line.listen();
}

/** Writes `bytes` as quickly as they are taken. */
function pour(to: NodeJS.WritableStream, bytes: number): void {
  let left = bytes;
  const more = (): void => {
    while (left > 0) {
      const piece = CHUNK.subarray(0, Math.min(left, CHUNK.length));
      left -= piece.length;
      if (!to.write(piece)) {
        to.once("drain", more);
        return;
      }
    }
    to.end();
  };
  more();
}

/** Sends `/bytes` to who asks for it, and answers an upload when it is here whole. */
async function startOrigin(): Promise<number> {
  const origin = createServer((asked, answer) => {
    asked.resume();
    asked.on("end", () => {
      if (asked.method === "POST") answer.end("ok");
      else pour(answer, Number(asked.url!.slice(1)));
    });
  });
  await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", resolve));
  closers.push(() => {
    origin.closeAllConnections();
    origin.close();
  });
  return (origin.address() as AddressInfo).port;
}

/** Two proxies and a line between them. Returns the near one's port. */
async function twoProxies(origin: number, bytesPerSecond: number): Promise<number> {
  const id = workloadId(EU, "shop", "large");
  const app = { address: "127.0.0.1", port: origin };
  const listen = { address: "127.0.0.1", port: 0 };
  const service = "large.shop" as ServiceName;
  const far = await planeOf(
    inboundSnapshot({ mesh: MESH, cluster: EU, service, listen, app }, undefined),
    new RotatingIdentity(await tree.identity(id, EU)),
  );
  const endpoint = { address: "127.0.0.1", port: await lineTo(far, bytesPerSecond), identity: id };
  const locale = { kind: "local", cluster: EU, endpoints: [endpoint], healthy: 1 };
  const content = {
    ...{ revision: "1", mesh: MESH, cluster: EU, routes: [] },
    listeners: [{ name: "http", address: "127.0.0.1", port: 0, protocol: "HTTP" }],
    services: [{ name: service, port: 80, appProtocol: "http", locales: [locale] }],
  };
  const own = new RotatingIdentity(await tree.identity(gatewayId(EU), EU));
  return planeOf(must(parseSnapshot(content, "bench")), own);
}

/** Seconds until the last byte has come. */
type Way = (bytes: number) => Promise<number>;

function timed(act: (done: () => void) => void): Promise<number> {
  const from = performance.now();
  return new Promise((resolve) => act(() => resolve((performance.now() - from) / 1_000)));
}

/** One TCP connection alone. The far side says when it has all, so that both directions are measured alike. */
async function rawWay(bytesPerSecond: number): Promise<Way> {
  let due = 0;
  const server = createNet((socket: Socket) => {
    let got = 0;
    socket.on("data", (chunk: Buffer) => {
      got += chunk.length;
      if (got === due) socket.end("ok");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closers.push(() => server.close());
  const port = await lineTo((server.address() as AddressInfo).port, bytesPerSecond);
  return (bytes) => {
    due = bytes;
    return timed((done) => {
      const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
      socket.once("data", () => {
        done();
        socket.destroy();
      });
      let left = bytes;
      const more = (): void => {
        while (left > 0) {
          const piece = CHUNK.subarray(0, Math.min(left, CHUNK.length));
          left -= piece.length;
          if (!socket.write(piece)) {
            socket.once("drain", more);
            return;
          }
        }
      };
      socket.once("connect", more);
    });
  };
}

function http1(port: number, posts: boolean): Way {
  return (bytes) =>
    timed((done) => {
      const place = { host: "127.0.0.1", port, agent: false as const, headers: { host: HOST } };
      const method = posts ? "POST" : "GET";
      const asked = request({ ...place, method, path: `/${bytes}` }, (answer) => {
        answer.resume();
        answer.on("end", done);
      });
      if (posts) pour(asked, bytes);
      else asked.end();
    });
}

function http2(port: number, posts: boolean): Way {
  return (bytes) =>
    timed((done) => {
      const settings = { initialWindowSize: CLIENT_WINDOW };
      const session = connectHttp2(`http://127.0.0.1:${port}`, { settings });
      session.once("connect", () => session.setLocalWindowSize(CLIENT_WINDOW));
      const head = { ":method": posts ? "POST" : "GET", ":path": `/${bytes}` };
      const stream = session.request(head, { endStream: !posts });
      stream.resume();
      stream.on("end", () => {
        done();
        session.destroy();
      });
      if (posts) pour(stream, bytes);
    });
}

async function main(): Promise<void> {
  const asked = process.argv.slice(2).map(Number);
  const origin = await startOrigin();
  for (const megabits of asked.length > 0 ? asked : [100, 400]) {
    const perSecond = (megabits * 1e6) / 8;
    const bytes = Math.round(perSecond * FOR_SECONDS);
    const raw = bytes / (await (await rawWay(perSecond))(bytes));
    console.log(`${megabits} Mbit/s, ${2 * DELAY_MS} ms: TCP alone ${mb(raw)}`);
    const client = await lineTo(await planeOf(simpleSnapshot([origin])), perSecond);
    const mesh = await twoProxies(origin, perSecond);
    const ways: ReadonlyArray<readonly [string, Way]> = [
      ["a client's download over HTTP/2", http2(client, false)],
      ["a client's upload over HTTP/2", http2(client, true)],
      ["a download over a link of two proxies", http1(mesh, false)],
      ["an upload over a link of two proxies", http1(mesh, true)],
    ];
    for (const [name, way] of ways) {
      const rss = process.memoryUsage().rss;
      const speeds = [bytes / (await way(bytes)), bytes / (await way(bytes))];
      const grown = (process.memoryUsage().rss - rss) / 1e6;
      const shares = speeds.map((speed) => `${mb(speed)}, ${(speed / raw).toFixed(2)}`);
      console.log(
        `  ${name}: ${shares.join("; the next: ")} of TCP; this process grew by ${grown.toFixed(0)} MB`,
      );
    }
  }
  for (const close of closers.reverse()) await close();
}

function mb(perSecond: number): string {
  return `${(perSecond / 1e6).toFixed(1)} MB/s`;
}

await main();
