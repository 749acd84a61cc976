import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { connect as http2 } from "node:http2";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, it } from "node:test";
import { systemClock } from "#kernel/clock.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { LineLog } from "#proxy/observe/line_log.ts";
import { gatewayYaml, snapshotOf } from "#test/kit/gateway.ts";
import { get, rawExchange } from "#test/kit/http.ts";
import { freePort } from "#test/kit/ports.ts";
import { until } from "#test/kit/processes.ts";
import { metricOf } from "#test/kit/promtool.ts";
import { counterOf, startPlane } from "#test/kit/proxy.ts";
import { RawClient } from "#test/kit/raw.ts";

const close: Array<() => Promise<unknown> | unknown> = [];
afterEach(async () => {
  for (const act of close.splice(0).reverse()) await act();
});

type Line = Record<string, string | number | undefined>;

/** An origin that says raw bytes for each request's head. */
async function origin(answer: (socket: Socket, head: string) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => {
      const text = chunk.toString("latin1");
      if (text.includes("HTTP/1.1\r\n")) answer(socket, text);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  close.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

const OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/** A gateway whose access log is read with `lines`. */
async function loggedGateway(
  rules: readonly string[],
  origins: Readonly<Record<string, readonly number[]>>,
  change: { share?: number; more?: string; edit?: (yaml: string) => string } = {},
) {
  const { share = 1, more = "", edit = (yaml) => yaml } = change;
  const dir = await mkdtemp(join(tmpdir(), "espalier-access-"));
  close.push(() => rm(dir, { recursive: true }));
  const reference = `infrastructure: { parametersRef: { group: espalier.dev, kind: GatewayParameters, name: p } }`;
  const parameters = `---
apiVersion: espalier.dev/v1alpha1
kind: GatewayParameters
metadata: { name: p }
spec: { accessLog: { share: ${share} }${more} }
`;
  const yaml = edit(gatewayYaml(rules, origins)).replace(
    "  listeners:",
    `  ${reference}\n  listeners:`,
  );
  const path = join(dir, "access.log");
  const log = new LineLog(path, systemClock, new MemoryLogger());
  const { plane, port } = await startPlane(snapshotOf(yaml + parameters), { accessLog: log });
  close.push(() => plane.drain(0));
  const lines = async (count: number): Promise<Line[]> => {
    const read = (): Line[] =>
      readFileSync(path, "utf8")
        .split("\n")
        // The last may be half written.
        .slice(0, -1)
        .map((text) => JSON.parse(text));
    await until(`${count} lines`, () => read().length >= count);
    return read();
  };
  return { plane, port, lines };
}

const ALL = "{ backendRefs: [{ name: a, port: 80 }] }";

/** The same gateway for connections. */
const asTcp = (yaml: string): string =>
  yaml
    .replace("protocol: HTTP", "protocol: TCP")
    .replace(
      "gateway.networking.k8s.io/v1\nkind: HTTPRoute",
      "gateway.networking.k8s.io/v1alpha2\nkind: TCPRoute",
    )
    .replace("port: 80 }]\n", "port: 80, appProtocol: tcp }]\n");

/** The one line of one exchange of bytes. */
async function lineOf(
  gateway: { port: number; lines: (count: number) => Promise<Line[]> },
  bytes: string,
): Promise<{ line: Line; said: string }> {
  const said = await rawExchange(gateway.port, bytes);
  const lines = await gateway.lines(1);
  assert.equal(lines.length, 1, JSON.stringify(lines));
  return { line: lines[0]!, said };
}

const ask = (path: string, more = ""): string =>
  `GET ${path} HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n${more}\r\n`;

describe("the access log of a gateway", { timeout: 60_000 }, () => {
  it("tells of a request what was asked, and who answered what", async () => {
    const port = await origin((socket) => socket.write(OK));
    const gateway = await loggedGateway([ALL], { a: [port] });
    const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const post = `POST /menu?x=1 HTTP/1.1\r\nhost: shop.example\r\nuser-agent: t\r\ncontent-length: 3\r\ntraceparent: ${trace}\r\nconnection: close\r\n\r\nabc`;
    const { line } = await lineOf(gateway, post);
    const { timestamp, "http.server.request.duration": duration, ...rest } = line;
    assert.match(String(timestamp), /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    assert.equal(typeof duration, "number");
    assert.match(String(rest["espalier.request_id"]), /^[0-9a-f]{32}$/);
    assert.deepEqual(
      { ...rest, "espalier.request_id": undefined },
      {
        "network.protocol.name": "http",
        "network.protocol.version": "1.1",
        "http.request.method": "POST",
        "url.scheme": "http",
        "url.path": "/menu",
        "url.query": "x=1",
        "http.response.status_code": 200,
        "user_agent.original": "t",
        "server.address": "shop.example",
        "client.address": "127.0.0.1",
        "http.request.body.size": 3,
        "http.response.body.size": 2,
        "espalier.listener": "default/edge/http",
        "espalier.service": "a.default",
        "espalier.locale": "core.local",
        "espalier.upstream": `127.0.0.1:${port}`,
        "espalier.request_id": undefined,
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
      },
    );
  });

  it("has a line for each of several pipelined requests", async () => {
    const port = await origin((socket, heads) => {
      for (const _ of heads.matchAll(/HTTP\/1\.1\r\n/g)) socket.write(OK);
    });
    const gateway = await loggedGateway([ALL], { a: [port] });
    const head = (i: number): string => `GET /${i} HTTP/1.1\r\nhost: a\r\n\r\n`;
    await rawExchange(gateway.port, head(0) + head(1) + ask("/2"));
    const lines = await gateway.lines(3);
    assert.deepEqual(
      lines.map((line) => [line["url.path"], line["http.response.body.size"]]),
      [0, 1, 2].map((i) => [`/${i}`, 2]),
    );
  });

  it("takes its share, and every failure", async () => {
    const port = await origin((socket, head) => {
      socket.write(head.startsWith("GET /bad") ? OK.replace("200 OK", "500 No") : OK);
    });
    const none = await loggedGateway([ALL], { a: [port] }, { share: 0 });
    for (let i = 0; i < 20; i++) await get(none.port);
    await rawExchange(none.port, ask("/bad"));
    const [failed, ...others] = await none.lines(1);
    assert.deepEqual([failed!["url.path"], failed!["error.type"], others], ["/bad", "500", []]);
    const some = await loggedGateway([ALL], { a: [port] }, { share: 0.5 });
    for (let i = 0; i < 200; i++) await get(some.port);
    const count = (await some.lines(1)).length;
    await some.plane.drain(0);
    const all = (await some.lines(count)).length;
    assert.ok(all > 50 && all < 150, `${all} of 200`);
  });

  it("says whom it gave up on, and who answered in the end", async () => {
    const good = await origin((socket) => socket.write(OK));
    const rule = "{ backendRefs: [{ name: a, port: 80 }], retry: { attempts: 3 } }";
    const dead = await freePort();
    const gateway = await loggedGateway([rule], { a: [dead, good] });
    const answers = await Promise.all(Array.from({ length: 12 }, () => get(gateway.port)));
    for (const { status } of answers) assert.equal(status, 200);
    const lines = await gateway.lines(12);
    const again = lines.filter((line) => line["http.request.resend_count"] !== undefined);
    assert.ok(again.length > 0, "some met the dead one first");
    for (const line of lines) assert.equal(line["espalier.upstream"], `127.0.0.1:${good}`);
    assert.equal(again[0]!["http.request.resend_count"], 1);
    assert.equal(again[0]!["error.type"], undefined);
    const alone = await loggedGateway([rule], { a: [await freePort()] });
    const { line } = await lineOf(alone, ask("/"));
    assert.equal(line["error.type"], "connect_refused");
    assert.equal(line["http.response.status_code"], 503);
    const ejected = 'espalier_endpoints_ejected{service="a.default",cluster="core.local"}';
    assert.equal(metricOf(await alone.plane.metricsText(), ejected), 1);
    assert.equal(line["http.request.resend_count"], 3, "at the only one there is");
  });

  it("counts the tries that were sent, not those that the budget forbade", async () => {
    const cutter = await origin((socket) => socket.destroy());
    const gateway = await loggedGateway([ALL], { a: [cutter] });
    await Promise.all(Array.from({ length: 40 }, () => get(gateway.port)));
    const lines = await gateway.lines(40);
    const metrics = await gateway.plane.metricsText();
    const denied = metricOf(metrics, 'espalier_retries_denied_total{service="a.default"}');
    assert.ok(denied! > 0);
    const sent = lines.map((line) => Number(line["http.request.resend_count"] ?? 0));
    assert.equal(
      sent.reduce((sum, one) => sum + one, 0),
      metricOf(metrics, 'espalier_retries_total{service="a.default"}'),
    );
  });

  it("tells of answers that the proxy gives itself", async () => {
    const gateway = await loggedGateway(
      [
        `{ matches: [{ path: { value: /old } }], filters: [{ type: RequestRedirect,
            requestRedirect: { path: { type: ReplaceFullPath, replaceFullPath: /new } } }] }`,
        `{ matches: [{ path: { value: /cors } }], backendRefs: [{ name: a, port: 80 }], filters: [{ type: CORS,
            cors: { allowOrigins: ["*"], allowMethods: [PUT] } }] }`,
      ],
      { a: [1] },
    );
    await rawExchange(gateway.port, ask("/old"));
    const preflight = "origin: https://a.example\r\naccess-control-request-method: PUT\r\n";
    await rawExchange(gateway.port, ask("/cors", preflight).replace("GET", "OPTIONS"));
    await rawExchange(gateway.port, ask("/nowhere"));
    const [redirect, answered, lost] = await gateway.lines(3);
    assert.deepEqual(
      [
        redirect!["http.response.status_code"],
        redirect!["error.type"],
        redirect!["espalier.upstream"],
      ],
      [302, undefined, undefined],
    );
    assert.equal(answered!["http.request.method"], "OPTIONS");
    assert.ok(Number(answered!["http.response.status_code"]) < 300);
    assert.deepEqual([lost!["http.response.status_code"], lost!["error.type"]], [404, "no_route"]);
  });

  it("has a reason for every refusal of the codec, once", async () => {
    const port = await origin((socket) => socket.write(OK));
    const more =
      ", limits: { targetBytes: 1000, headBytes: 4096 }, timeouts: { body: 1s, head: 1s }";
    const cases = [
      ["GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400, "bad_request"],
      [`GET /${"x".repeat(2_000)} HTTP/1.1\r\nhost: a\r\n\r\n`, 414, "target_too_long"],
      [`GET / HTTP/1.1\r\nhost: a\r\nx: ${"y".repeat(9_000)}\r\n\r\n`, 431, "head_too_large"],
      ["GET / HTTP/1.1\r\nhost: a", 408, "head_timeout"],
      ["POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nx", 408, "body_timeout"],
      [
        "POST /b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        400,
        "bad_request",
      ],
    ] as const;
    const silent = await origin(() => {});
    for (const [bytes, status, reason] of cases) {
      const to = bytes.startsWith("POST") ? silent : port;
      const gateway = await loggedGateway([ALL], { a: [to] }, { share: 0, more });
      const said = await rawExchange(gateway.port, bytes, 5_000);
      assert.match(said, new RegExp(`^HTTP/1.1 ${status}`));
      await gateway.plane.drain(1_000);
      const [line, ...others] = await gateway.lines(1);
      assert.deepEqual(others, [], reason);
      assert.equal(line!["error.type"], reason);
      assert.equal(line!["http.response.status_code"], status);
      assert.equal(line!["client.address"], "127.0.0.1");
      assert.equal(line!["espalier.listener"], "default/edge/http");
    }
  });

  it("says who cut an exchange short", async () => {
    const cut = await origin((socket) => {
      socket.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal");
      setImmediate(() => socket.destroy());
    });
    const truncated = await lineOf(await loggedGateway([ALL], { a: [cut] }), ask("/"));
    assert.equal(truncated.line["http.response.status_code"], 200);
    assert.equal(truncated.line["error.type"], "answer_truncated");

    const silent = await origin(() => {});
    const rule = `{ backendRefs: [{ name: a, port: 80 }], timeouts: { request: 200ms } }`;
    const late = await lineOf(await loggedGateway([rule], { a: [silent] }), ask("/"));
    assert.equal(late.line["http.response.status_code"], 504);
    assert.equal(late.line["error.type"], "deadline");

    const waiting = await loggedGateway([ALL], { a: [silent] }, { share: 0 });
    const socket = connect(waiting.port, "127.0.0.1");
    socket.write(ask("/left"));
    await until("it is asked", async () => (await waiting.plane.reports())[0]!.inflight === 1);
    socket.resetAndDestroy();
    const [gone] = await waiting.lines(1);
    assert.equal(gone!["error.type"], "client_closed");
    assert.equal(gone!["http.response.status_code"], undefined);
    assert.equal(gone!["url.path"], "/left");
  });

  it("says that we have cut what was not done when the time to drain was over", async () => {
    const silent = await origin((socket, head) => {
      if (head.includes("/begun")) socket.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal");
    });
    const raw = (path: string) => (port: number) => new RawClient(port, ask(path));
    const overHttp2 = (port: number): undefined => {
      const session = http2(`http://127.0.0.1:${port}`);
      for (const one of [session, session.request({ ":path": "/" })]) one.on("error", () => {});
    };
    const cases = [
      { begin: raw("/waits"), status: undefined },
      { begin: raw("/begun"), heard: "hal", status: 200 },
      { begin: overHttp2, status: undefined },
      { begin: raw("/begun"), heard: "hal", edit: asTcp, status: undefined },
    ];
    for (const { begin, heard, edit = (yaml: string) => yaml, status } of cases) {
      const gateway = await loggedGateway([ALL], { a: [silent] }, { share: 0, edit });
      const client = begin(gateway.port);
      await until("it is asked", async () => (await gateway.plane.reports())[0]!.inflight === 1);
      if (heard !== undefined) await client!.hears(heard);
      await gateway.plane.drain(20);
      const [line, ...more] = await gateway.lines(1);
      assert.deepEqual([line!["error.type"], more], ["draining", []]);
      assert.equal(line!["http.response.status_code"], status);
      const text = await gateway.plane.metricsText();
      assert.equal(counterOf(text, "espalier_failures_total", 'kind="draining"'), 1);
      assert.equal(counterOf(text, "espalier_failures_total"), 1);
    }
  });

  it("tells of a tunnel at its end, with the bytes of both directions", async () => {
    const port = await origin((socket) => {
      socket.write("HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nhello");
      socket.on("end", () => socket.end());
    });
    const gateway = await loggedGateway([ALL], { a: [port] });
    const socket = connect({ port: gateway.port, host: "127.0.0.1", allowHalfOpen: true });
    socket.resume();
    socket.write("GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n");
    await once(socket, "data");
    const open = 'espalier_tunnels_open{service="a.default"}';
    assert.equal(metricOf(await gateway.plane.metricsText(), open), 1);
    socket.end("0123456789");
    await once(socket, "close");
    const [line] = await gateway.lines(1);
    const metrics = await gateway.plane.metricsText();
    assert.equal(metricOf(metrics, open), 0);
    const bytes = 'espalier_request_body_bytes_total{service="a.default"}';
    assert.equal(metricOf(metrics, bytes), 10);
    assert.equal(line!["http.response.status_code"], 101);
    assert.equal(line!["espalier.bytes_received"], 10);
    assert.equal(line!["espalier.bytes_sent"], 5);
    assert.equal(line!["error.type"], undefined);
  });

  it("tells of TCP connections, served and refused", async () => {
    const echo = await origin((socket) => socket.end("bye"));
    const served = await loggedGateway([ALL], { a: [echo] }, { edit: asTcp });
    const socket = connect({ port: served.port, host: "127.0.0.1", allowHalfOpen: true });
    socket.resume();
    socket.end(ask("/"));
    await once(socket, "close");
    const [line] = await served.lines(1);
    assert.equal(line!["network.protocol.name"], "tcp");
    assert.equal(line!["espalier.service"], "a.default");
    assert.equal(line!["espalier.upstream"], `127.0.0.1:${echo}`);
    assert.equal(line!["espalier.bytes_sent"], 3);
    assert.equal(line!["espalier.bytes_received"], ask("/").length);
    assert.equal(line!["client.address"], "127.0.0.1");
    const dead = await loggedGateway([ALL], { a: [await freePort()] }, { edit: asTcp, share: 0 });
    await rawExchange(dead.port, "x");
    const [failed] = await dead.lines(1);
    assert.equal(failed!["error.type"], "connect_refused");
    assert.equal(failed!["http.response.status_code"], undefined);
  });

  it("bounds what clients make long", async () => {
    const port = await origin((socket) => socket.write(OK));
    const gateway = await loggedGateway([ALL], { a: [port] });
    const head = ask(`/${"p".repeat(16_000)}`, `user-agent: ${"u".repeat(48_000)}\r\n`);
    const { line } = await lineOf(gateway, head);
    assert.equal(String(line["url.path"]).length, 1_024);
    assert.equal(String(line["user_agent.original"]).length, 1_024);
  });
});
