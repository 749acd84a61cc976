import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  Agent,
  createServer as createHttp,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { afterEach, describe, it } from "node:test";
import { type Clock, systemClock } from "#kernel/clock.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { seededRng } from "#kernel/rng.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import type { ClusterName } from "#model/names.ts";
import type { Inventory } from "#proxy/app/inventory.ts";
import { LocalPlane } from "#proxy/app/local_plane.ts";
import { FullBacklog } from "#test/kit/full_backlog.ts";
import { gatewayYaml, snapshotOf } from "#test/kit/gateway.ts";
import { type Answer, get } from "#test/kit/http.ts";
import { until } from "#test/kit/processes.ts";
import { countedBody } from "#test/kit/slow_reader.ts";

const close: Array<() => Promise<unknown> | unknown> = [];
afterEach(async () => {
  for (const act of close.splice(0).reverse()) await act();
});

const RULE = "{ backendRefs: [{ name: a, port: 80 }] }";

/** A Gateway, a route, and the Service `a` with these `connections` (flow YAML). */
function yaml(connections: string, ...ports: readonly number[]): string {
  return gatewayYaml([RULE], { a: ports }).replace(
    "  endpoints:",
    `  connections: ${connections}\n  endpoints:`,
  );
}

function tcpYaml(connections: string, port: number): string {
  return `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: edge }
spec: { gatewayClassName: espalier, listeners: [{ name: tcp, port: 0, protocol: TCP }] }
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: { name: t }
spec: { parentRefs: [{ name: edge }], rules: [${RULE}] }
---
apiVersion: espalier.dev/v1alpha1
kind: Service
metadata: { name: a }
spec:
  ports: [{ port: 80, appProtocol: tcp }]
  connections: ${connections}
  endpoints: [{ address: 127.0.0.1, port: ${port} }]
`;
}

async function start(text: string, clock: Clock = systemClock) {
  const plane = new LocalPlane({
    cluster: "core.local" as ClusterName,
    ...{ clock, rng: seededRng(1), log: new MemoryLogger(), reusePort: false },
  });
  plane.apply(snapshotOf(text));
  const { bound, problem } = (await plane.settled())[0]!;
  close.push(() => plane.drain(0));
  return { plane, port: bound?.port ?? assert.fail(problem) };
}

/** The value of a metric; of several with different labels, the sum. */
async function metric(plane: LocalPlane, name: string): Promise<number> {
  let sum = 0;
  for (const line of (await plane.metricsText()).split("\n")) {
    if (line.startsWith(name)) sum += Number(line.slice(line.lastIndexOf(" ")));
  }
  return sum;
}

/** An endpoint that answers when it is told to. */
class PatientOrigin {
  readonly asked: string[] = [];
  readonly sockets: Socket[] = [];
  open = 0;
  openMax = 0;
  readonly #answers: ServerResponse[] = [];
  readonly #server = createHttp((asked, answer) => this.#onRequest(asked, answer));

  async start(): Promise<number> {
    const server = this.#server;
    server.keepAliveTimeout = 600_000;
    server.on("connection", (socket: Socket) => {
      this.sockets.push(socket);
      this.openMax = Math.max(this.openMax, ++this.open);
      socket.on("close", () => this.open--);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    close.push(async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    });
    return (server.address() as AddressInfo).port;
  }

  /** Requests that wait for an answer. */
  get waiting(): number {
    return this.#answers.length;
  }

  /** Answers the oldest one. */
  answer(): void {
    this.#answers.shift()!.end("ok");
  }

  #onRequest(asked: IncomingMessage, answer: ServerResponse): void {
    this.asked.push(`${asked.method} ${asked.url}`);
    if (asked.url === "/now") answer.end("ok");
    else if (asked.url === "/body") {
      const hash = createHash("sha256");
      asked.on("data", (chunk: Buffer) => hash.update(chunk));
      asked.on("end", () => answer.end(hash.digest("hex")));
    } else this.#answers.push(answer);
    asked.on("error", () => {});
  }
}

async function patient() {
  const origin = new PatientOrigin();
  return { origin, place: await origin.start() };
}

const BUSY = "espalier_upstream_connections{";
const LIMIT = "core.local; error=connection_limit_reached";
const statusOf = ({ status }: Answer): number => status;

describe("a limit of connections", { timeout: 60_000 }, () => {
  it("is kept by a crowd, of whom each is answered in its turn", async () => {
    const { origin, place } = await patient();
    const { plane, port } = await start(yaml("{ max: 3, pendingTimeout: 1m }", place));
    const crowd = Array.from({ length: 60 }, (_, i) => get(port, { path: `/${i}` }));
    await until("all wait", async () => (await metric(plane, "espalier_upstream_pending{")) === 57);
    for (let i = 0; i < 60; i++) {
      await until("somebody is asked", () => origin.waiting > 0);
      origin.answer();
    }
    assert.deepEqual(new Set((await Promise.all(crowd)).map(statusOf)), new Set([200]));
    assert.deepEqual([origin.openMax, origin.sockets.length, origin.asked.length], [3, 3, 60]);
    assert.equal(await metric(plane, "espalier_upstream_pending_total"), 57);
    assert.equal(await metric(plane, "espalier_upstream_connections_opened_total"), 3);
    assert.equal(await metric(plane, "espalier_upstream_pending{"), 0);
  });

  it("is answered 503 where nobody may wait, or has waited too long, and says why", async () => {
    const { origin, place } = await patient();
    for (const [connections, reason] of [
      ["{ max: 1, pending: 0 }", "overflow"],
      ["{ max: 1, pendingTimeout: 50ms }", "timeout"],
    ] as const) {
      const { plane, port } = await start(yaml(connections, place));
      const first = get(port);
      await until("it is asked", () => origin.waiting === 1);
      const second = await get(port, { method: "POST", body: "x" });
      assert.deepEqual([second.status, second.headers["proxy-status"]], [503, LIMIT]);
      assert.ok((await metric(plane, `espalier_upstream_pending_${reason}_total`)) > 0);
      // A limit of ours is no sign of illness.
      const [{ services }] = (await plane.inventory()) as readonly [Inventory];
      assert.equal(services[0]!.endpoints[0]!.failuresInRow, 0);
      origin.answer();
      assert.equal(statusOf(await first), 200);
    }
    assert.ok(!origin.asked.some((asked) => asked.startsWith("POST")));
  });

  it("sends who finds no room elsewhere, with any method", async () => {
    const [one, two] = [await patient(), await patient()];
    const text = yaml("{ max: 1, pending: 0 }", one.place, two.place);
    // So much stronger that it is always asked first.
    const strong = `port: ${one.place}, weight: 1000 }`;
    const { plane, port } = await start(text.replace(`port: ${one.place} }`, strong));
    const post = { method: "POST", body: "x" };
    const first = get(port, post);
    await until("the strong one is asked", () => one.origin.waiting === 1);
    const second = get(port, post);
    await until("the other one is asked", () => two.origin.waiting === 1);
    assert.equal(await metric(plane, "espalier_upstream_pending_overflow_total"), 1);
    assert.equal(statusOf(await get(port, post)), 503);
    one.origin.answer();
    two.origin.answer();
    assert.deepEqual([(await first).status, (await second).status], [200, 200]);
  });

  it("lets the client of a large body wait, and takes all of it afterwards", async () => {
    const { origin, place } = await patient();
    const { plane, port } = await start(yaml("{ max: 1, pendingTimeout: 1m }", place));
    const first = get(port);
    await until("it is asked", () => origin.waiting === 1);
    const body = countedBody(30_000_000);
    const upload = get(port, { method: "POST", path: "/body", body, timeoutMs: 30_000 });
    await until("it waits", async () => (await metric(plane, "espalier_upstream_pending{")) === 1);
    let read = -1;
    await until("the client is held back", async () => {
      const before = read;
      const clients = (await plane.inventory()).flatMap((one) => one.clients);
      read = clients.reduce((sum, { bytesIn }) => sum + bytesIn, 0);
      return read > 10_000 && read === before;
    });
    assert.ok(read < 1_000_000, `${read} bytes were taken for nobody`);
    origin.answer();
    await first;
    assert.equal((await upload).body, createHash("sha256").update(body).digest("hex"));
  });

  it("forgets a client that has gone", async () => {
    const { origin, place } = await patient();
    const { plane, port } = await start(yaml("{ max: 1, pendingTimeout: 1m }", place));
    const pending = () => metric(plane, "espalier_upstream_pending{");
    const first = get(port);
    await until("it is asked", () => origin.waiting === 1);
    const socket = connect(port, "127.0.0.1");
    socket.write("GET /gone HTTP/1.1\r\nhost: a\r\n\r\n");
    await until("it waits", async () => (await pending()) === 1);
    socket.resetAndDestroy();
    await until("it is forgotten", async () => (await pending()) === 0);
    origin.answer();
    await first;
    assert.equal(statusOf(await get(port, { path: "/now" })), 200);
    assert.deepEqual(origin.asked, ["GET /", "GET /now"]);
  });

  it("changes with the configuration, and nobody notices but who waits", async () => {
    const { origin, place } = await patient();
    const { plane, port } = await start(yaml("{ max: 1, pendingTimeout: 1m }", place));
    const crowd = [get(port), get(port), get(port)];
    await until("two wait", async () => (await metric(plane, "espalier_upstream_pending{")) === 2);
    plane.apply(snapshotOf(yaml("{ max: 3 }", place)));
    await until("all are asked", () => origin.waiting === 3);
    plane.apply(snapshotOf(yaml("{ max: 2 }", place)));
    for (let i = 0; i < 3; i++) origin.answer();
    assert.deepEqual((await Promise.all(crowd)).map(statusOf), [200, 200, 200]);
    await until("one is closed", () => origin.open === 2);
    assert.equal(
      await metric(plane, 'espalier_upstream_connections_closed_total{reason="limit"}'),
      1,
    );
  });
});

describe("the age of a connection", { timeout: 60_000 }, () => {
  it("is bounded by requests, by time, and by idleness", async () => {
    for (const [connections, reason] of [
      ["{ requests: 2 }", "requests"],
      ["{ lifetime: 100ms }", "lifetime"],
      ["{ idleTimeout: 100ms }", "idle"],
    ] as const) {
      const { origin, place } = await patient();
      const { plane, port } = await start(yaml(connections, place));
      for (let i = 0; i < 2; i++) assert.equal(statusOf(await get(port, { path: "/now" })), 200);
      await until(`it is closed: ${reason}`, () => origin.open === 0);
      const closed = `espalier_upstream_connections_closed_total{reason="${reason}"}`;
      assert.ok((await metric(plane, closed)) > 0);
    }
  });
});

describe("a connection that dies under a request", { timeout: 60_000 }, () => {
  /** Asks once over a connection that `end` ends when the proxy has the request in its hands. */
  async function meet(method: string, end: (socket: Socket) => void, kind: string) {
    const { origin, place } = await patient();
    let armed: Socket | undefined;
    const clock: Clock = {
      ...systemClock,
      now() {
        // Asked for the first time while a request is looked at: before it is sent.
        const socket = armed;
        armed = undefined;
        if (socket !== undefined) end(socket);
        return systemClock.now();
      },
    };
    const { plane, port } = await start(yaml("{}", place), clock);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    close.push(() => agent.destroy());
    const failures = () =>
      metric(plane, `espalier_failures_total{service="a.default",kind="${kind}"`);
    let tries = 0;
    let status = 0;
    // The timer may have looked at the clock before the request: then it is just a new connection.
    await until(`a request meets ${kind}`, async () => {
      assert.equal(statusOf(await get(port, { path: "/now", agent })), 200);
      tries++;
      armed = origin.sockets.at(-1)!;
      const options = method === "GET" ? {} : { body: "x" };
      status = statusOf(await get(port, { path: "/now", method, agent, ...options }));
      return (await failures()) > 0;
    });
    const copies = origin.asked.filter((asked) => asked === `${method} /now`).length;
    return { status, copies: method === "GET" ? copies - tries : copies, tries };
  }

  it("is a 502 for a POST that may have been read, which nobody gets twice", async () => {
    const { status, copies, tries } = await meet("POST", (s) => s.destroy(), "stale_connection");
    assert.deepEqual([status, copies], [502, tries - 1]);
  });

  it("is not noticed by a GET", async () => {
    const { status, copies, tries } = await meet("GET", (s) => s.destroy(), "stale_connection");
    assert.deepEqual([status, copies], [200, tries]);
  });

  it("is not noticed by a POST of which nothing has left", async () => {
    const { status, copies, tries } = await meet("POST", (s) => s.resetAndDestroy(), "not_sent");
    assert.deepEqual([status, copies], [200, tries]);
  });
});

describe("connections that do not come about", { timeout: 60_000 }, () => {
  const failed = 'espalier_upstream_connect_failures_total{reason="connect_timeout"}';

  /** Turns the clock until it is over: four tries of 100 ms each, not of the usual second. */
  async function pass(clock: VirtualClock, isOver: () => boolean): Promise<void> {
    await until("it is given up", () => {
      if (!isOver()) clock.advance(50);
      return isOver();
    });
    assert.ok(clock.now() < 1_000, `${clock.now()} ms`);
  }

  it("are given up in time", async () => {
    const hole = await FullBacklog.start();
    close.push(() => hole.stop());
    const clock = new VirtualClock();
    const { plane, port } = await start(yaml("{ connectTimeout: 100ms }", hole.port), clock);
    let answer: Answer | undefined;
    void get(port, { method: "POST", body: "x" }).then((given) => {
      answer = given;
    });
    await until("it is on its way", async () => (await metric(plane, BUSY)) === 1);
    await pass(clock, () => answer !== undefined);
    const { status, headers } = answer!;
    const said = headers["proxy-status"];
    assert.deepEqual([status, said], [503, "core.local; error=connection_timeout"]);
    assert.equal(await metric(plane, failed), 4);
  });

  it("are given up in time for TCP as well", async () => {
    const hole = await FullBacklog.start();
    close.push(() => hole.stop());
    const clock = new VirtualClock();
    const { plane, port } = await start(tcpYaml("{ connectTimeout: 100ms }", hole.port), clock);
    let closed = false;
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => {});
    socket.on("close", () => {
      closed = true;
    });
    const running = 'espalier_requests_inflight{service="a.default"}';
    await until("it is on its way", async () => (await metric(plane, running)) === 1);
    await pass(clock, () => closed);
    assert.equal(await metric(plane, failed), 4);
  });

  it("are counted for TCP as for others", async () => {
    const { origin, place } = await patient();
    const { plane, port } = await start(tcpYaml("{}", place));
    const answer = await get(port, { path: "/now", headers: { connection: "close" } });
    assert.deepEqual([answer.status, origin.asked], [200, ["GET /now"]]);
    const closed = 'espalier_upstream_connections_closed_total{reason="tunnel"}';
    await until("it is closed", async () => (await metric(plane, closed)) === 1);
    assert.equal(await metric(plane, "espalier_upstream_connections_opened_total"), 1);
  });
});
