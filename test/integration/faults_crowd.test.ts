import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import { get } from "#test/kit/http.ts";
import { EspalierProcess, until } from "#test/kit/processes.ts";
import { metricOf } from "#test/kit/promtool.ts";
import { counterOf } from "#test/kit/proxy.ts";
import { staticYaml } from "#test/kit/static_yaml.ts";

const READERS = 1_000;
const WRITERS = 1_000;
const IDLE = 10_000;
/** All of them, what the proxy keeps for endpoints, and the test's own. */
const FILES = 12_500;
/** Connects so many at a time: a queue of the kernel holds 1,024. */
const AT_ONCE = 250;
const MB = 1_048_576;
/** What a kernel takes although nobody reads: the connection is stalled for the client alone. */
const BODY_BYTES = MB + 1;
/** More than that: it stalls the proxy as well. */
const STALLING_BYTES = 16 * MB;
/** So few have the large body, since for each the kernel holds up to 4 MB. */
const STALLING_EACH = 10;
/**
 * By how much each crowd may let the proxy grow. Measured: 20 to 110 MB, with what the garbage collector leaves. Of
 * the stalled bodies alone there are 1,600 MB.
 */
const GROWN_MB = 250;

/** Why there can be no such crowd here; undefined: there can. */
function unfit(): string | undefined {
  try {
    const limits = readFileSync("/proc/self/limits", "latin1");
    const files = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1]);
    if (files < FILES) return `ulimit -n is ${files}, ${FILES} are needed`;
    return undefined;
  } catch {
    return "no /proc here: neither limits nor memory can be read";
  }
}

const why = unfit();

describe("a crowd", { timeout: 120_000, ...(why === undefined ? {} : { skip: why }) }, () => {
  let dir: string;
  let proxy: EspalierProcess;
  let port: number;
  let admin: number;
  /** Uploads that the endpoint has heard of, and those that have not ended for it. */
  let begun = 0;
  let uploads = 0;
  const crowd: Socket[] = [];
  const body = Buffer.alloc(STALLING_BYTES, "x");
  const origin = createServer((asked, answer) => {
    if (asked.method === "POST") {
      begun++;
      uploads++;
      asked.on("error", () => {});
      asked.on("close", () => uploads--);
      asked.resume();
    } else if (asked.url === "/small") answer.end("ok");
    else answer.end(body.subarray(0, Number(asked.url!.slice(1))));
  });
  // Endless: what is open at the end is what the proxy has not closed.
  origin.keepAliveTimeout = 0;

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "espalier-crowd-"));
    await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", 1_024, resolve));
    const yaml = staticYaml(0, (origin.address() as AddressInfo).port);
    const reference = "{ group: espalier.dev, kind: GatewayParameters, name: p }";
    const file = join(dir, "edge.yaml");
    await writeFile(
      file,
      `${yaml.replace("gatewayClassName: espalier\n", `gatewayClassName: espalier\n  infrastructure: { parametersRef: ${reference} }\n`)}---
apiVersion: espalier.dev/v1alpha1
kind: GatewayParameters
metadata: { name: p }
spec: { limits: { connections: ${IDLE + 100} }, timeouts: { head: 3s, body: 1s } }
---
apiVersion: espalier.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: all-at-once }
spec:
  targetRef: { group: espalier.dev, kind: Service, name: origin }
  # A thousand at once overload a process that is their client as well, and some would be shed.
  limits: { adaptive: false }
`,
    );
    proxy = new EspalierProcess(["proxy", "-f", file, "--admin", "127.0.0.1:0"]);
    ({ port } = await proxy.ready("default/edge/http"));
    admin = (await proxy.ready("admin")).port;
    // What grows once and for all has grown.
    for (let i = 0; i < 200; i++) await small();
  });
  after(async () => {
    await proxy.stop("SIGKILL");
    origin.closeAllConnections();
    origin.close();
    await rm(dir, { recursive: true });
  });
  afterEach(() => {
    for (const socket of crowd.splice(0)) socket.destroy();
  });

  const metrics = async (): Promise<string> => (await get(admin, { path: "/metrics" })).body;
  const small = async (): Promise<void> => {
    const { status, body: said } = await get(port, { path: "/small", timeoutMs: 30_000 });
    assert.deepEqual([status, said], [200, "ok"]);
  };

  async function memory(): Promise<number> {
    const bytes = metricOf(await metrics(), 'process_resident_memory_bytes{process="main"}');
    assert.ok(bytes !== undefined && bytes > MB);
    return bytes / MB;
  }

  /** Ordinary requests, one after the other, for as long as `act` runs. */
  async function meanwhile(act: () => Promise<void>): Promise<void> {
    let over = false;
    const acting = act().finally(() => {
      over = true;
    });
    let answered = 0;
    const asking = (async () => {
      do {
        await small();
        answered++;
      } while (!over);
    })();
    await Promise.all([acting, asking]);
    assert.ok(answered > 0);
  }

  /** So many clients that do what `begin` has them do; each is in the crowd when `begin` says so. */
  async function gather(
    count: number,
    begin: (socket: Socket, nth: number) => Promise<void>,
  ): Promise<void> {
    for (let from = 0; from < count; from += AT_ONCE) {
      await Promise.all(
        Array.from({ length: Math.min(AT_ONCE, count - from) }, async (_, i) => {
          const socket = connect({ port, host: "127.0.0.1" });
          crowd.push(socket);
          socket.on("error", () => {});
          await begin(socket, from + i);
        }),
      );
    }
  }

  async function isReleased(): Promise<void> {
    await until("all is released", async () => {
      const text = await metrics();
      return (
        counterOf(text, "espalier_requests_inflight") === 0 &&
        counterOf(text, "espalier_connections_open") === 0 &&
        counterOf(text, "espalier_upstream_connections", 'state="busy"') === 0
      );
    });
    await small();
  }

  it("of 1,000 that ask for much and never read: bounded, and others are served", async (t) => {
    const before = await memory();
    await meanwhile(async () => {
      await gather(READERS, async (socket, nth) => {
        const bytes = nth % STALLING_EACH === 0 ? STALLING_BYTES : BODY_BYTES;
        // Never read: not even the head.
        socket.pause();
        await new Promise<void>((resolve) =>
          socket.write(`GET /${bytes} HTTP/1.1\r\nHost: a\r\n\r\n`, () => resolve()),
        );
      });
      let before = -1;
      await until("nothing moves any more", async () => {
        const now = counterOf(await metrics(), "espalier_response_body_bytes_total");
        // The ordinary requests go on: two bytes each.
        const isStill = now - before < 10_000 && now > READERS * MB;
        before = now;
        return isStill;
      });
    });
    const text = await metrics();
    const grown = (await memory()) - before;
    const stalled = counterOf(text, "espalier_requests_inflight");
    t.diagnostic(`${grown.toFixed(0)} MB, ${stalled} stalled`);
    assert.ok(grown < GROWN_MB, `${grown} MB for ${READERS} of them`);
    assert.ok(stalled >= READERS / STALLING_EACH);
    await until("only they are there", async () => {
      return counterOf(await metrics(), "espalier_connections_open") === READERS;
    });
    for (const socket of crowd.splice(0)) socket.destroy();
    await isReleased();
  });

  it("of 1,000 that begin an upload and stop: ended by the time limit", async (t) => {
    const before = await memory();
    let told = 0;
    begun = 0;
    await meanwhile(async () => {
      await gather(WRITERS, async (socket) => {
        socket.once("data", (chunk: Buffer) => {
          if (chunk.latin1Slice(0, 13) === "HTTP/1.1 408 ") told++;
        });
        await new Promise<void>((resolve) =>
          socket.write(
            `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n${"x".repeat(9_999)}`,
            () => resolve(),
          ),
        );
      });
      await until("all are told", () => told === WRITERS);
      await until("all are closed", () => crowd.every(({ closed }) => closed));
    });
    const grown = (await memory()) - before;
    t.diagnostic(`${grown.toFixed(0)} MB`);
    assert.ok(grown < GROWN_MB, `${grown} MB for ${WRITERS} of them`);
    assert.equal(begun, WRITERS);
    assert.equal(
      counterOf(await metrics(), "espalier_failures_total", 'kind="body_timeout"'),
      WRITERS,
    );
    await until("the endpoint hears of none any more", () => uploads === 0);
    await isReleased();
  });

  it("of 10,000 that are idle: bounded, served, listed up to 1,000 of them", async (t) => {
    const before = await memory();
    const ask = "GET /small HTTP/1.1\r\nHost: a\r\n\r\n";
    await meanwhile(async () => {
      await gather(IDLE, async (socket) => {
        socket.write(ask);
        await new Promise((resolve) => socket.once("data", resolve));
      });
      assert.ok(crowd.every(({ closed }) => !closed));
    });
    const grown = (await memory()) - before;
    t.diagnostic(`${grown.toFixed(0)} MB`);
    assert.ok(grown < GROWN_MB, `${grown} MB for ${IDLE} of them`);
    const [listed] = JSON.parse((await get(admin, { path: "/connections" })).body);
    assert.equal(listed.clientsOpen, IDLE);
    assert.equal(listed.clients.length, 1_000);
    // Each of them can be used again.
    await Promise.all(
      crowd.slice(-100).map((socket) => {
        socket.write(ask);
        return new Promise((resolve) => socket.once("data", resolve));
      }),
    );
    for (const socket of crowd.splice(0)) socket.destroy();
    await isReleased();
  });
});
