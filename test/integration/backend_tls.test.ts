import assert from "node:assert/strict";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { connect as connectNet } from "node:net";
import { afterEach, before, describe, it } from "node:test";
import { WebSocket, WebSocketServer } from "ws";
import type { LocalPlane } from "#proxy/app/local_plane.ts";
import { FAILURES } from "#proxy/exchange/failure.ts";
import { type Forged, type Forgery, forge } from "#test/kit/forge.ts";
import { gatewayYaml, snapshotOf } from "#test/kit/gateway.ts";
import { EchoClient, EchoServer } from "#test/kit/grpc_echo.ts";
import { get } from "#test/kit/http.ts";
import { HeldOrigin, TestPools } from "#test/kit/pool.ts";
import { until } from "#test/kit/processes.ts";
import { counterOf, startPlane } from "#test/kit/proxy.ts";
import { type SeenRequest, type Speaks, TlsOrigin } from "#test/kit/tls_origin.ts";

const NAME = "shop.internal.example";
const dns = (value: string) => ({ type: "dns" as const, value });
const url = (value: string) => ({ type: "url" as const, value });

interface Wanted {
  readonly ca: Forged;
  readonly appProtocol?: string;
  readonly hostname?: string;
  /** Of `validation`, flow YAML. */
  readonly subjectAltNames?: string;
  /** Of the Service, flow YAML. */
  readonly connections?: string;
}

/** Everything goes to these ports, where servers are expected that `ca` has signed. */
function yamlTo(ports: readonly number[], wanted: Wanted): string {
  const { ca, appProtocol = "http", hostname = NAME, subjectAltNames = "[]" } = wanted;
  const { connections = "{}" } = wanted;
  const base = gatewayYaml(["{ backendRefs: [{ name: origin, port: 80 }] }"], { origin: ports });
  const spec = `ports: [{ port: 80, appProtocol: ${appProtocol} }]\n  connections: ${connections}`;
  return `${base.replace("ports: [{ port: 80 }]", spec)}---
apiVersion: v1
kind: ConfigMap
metadata: { name: roots }
data: { ca.crt: ${JSON.stringify(ca.pem)} }
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: { name: origin }
spec:
  targetRefs: [{ kind: Service, name: origin }]
  validation:
    hostname: ${hostname}
    caCertificateRefs: [{ kind: ConfigMap, name: roots }]
    subjectAltNames: ${subjectAltNames}
`;
}

describe("an endpoint that speaks TLS", { timeout: 60_000 }, () => {
  let ca: Forged;
  let otherCa: Forged;
  let good: Forged;
  const closers: Array<() => unknown> = [];

  before(async () => {
    ca = await forge({ ca: true });
    otherCa = await forge({ ca: true });
    good = await forge({ by: ca, names: [dns(NAME)] });
  });
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });

  async function origin(
    speaks: Speaks,
    identity: { pem: string; keyPem: string } = good,
    more: Parameters<typeof TlsOrigin.start>[2] = {},
  ): Promise<TlsOrigin> {
    const started = await TlsOrigin.start(identity, speaks, more);
    closers.push(() => started.stop());
    return started;
  }

  async function proxyTo(
    ports: readonly number[],
    wanted: Partial<Wanted> = {},
  ): Promise<{ plane: LocalPlane; port: number }> {
    const open = await startPlane(snapshotOf(yamlTo(ports, { ca, ...wanted })));
    closers.push(() => open.plane.drain(0));
    return open;
  }

  const metric = async (plane: LocalPlane, name: string, labels = ""): Promise<number> =>
    counterOf(await plane.metricsText(), name, labels);
  const tlsFailures = (plane: LocalPlane): Promise<number> =>
    metric(plane, "espalier_upstream_connect_failures_total", 'reason="tls_failed"');
  const poolsOf = async (plane: LocalPlane) => (await plane.inventory())[0]!.upstreams;
  const ask = async (port: number, method = "GET"): Promise<SeenRequest> => {
    const body = method === "GET" ? undefined : "body";
    const answer = await get(port, {
      ...{ method, path: "/x", host: "shop.example" },
      ...(body === undefined ? {} : { body }),
    });
    assert.equal(answer.status, 200, answer.body);
    return JSON.parse(answer.body) as SeenRequest;
  };

  const AGREES: ReadonlyArray<readonly [Speaks, string, string]> = [
    ["both", "http", "2.0"],
    ["both", "https", "2.0"],
    ["h2", "http", "2.0"],
    ["http/1.1", "http", "1.1"],
    ["silent", "http", "1.1"],
    ["both", "kubernetes.io/wss", "1.1"],
    ["http/1.1", "kubernetes.io/ws", "1.1"],
    ["silent", "kubernetes.io/wss", "1.1"],
    ["both", "kubernetes.io/h2c", "2.0"],
    ["h2", "grpc", "2.0"],
  ];
  for (const [speaks, appProtocol, version] of AGREES) {
    it(`as ${appProtocol}, with a server of ${speaks}, is spoken to in HTTP/${version}`, async () => {
      const server = await origin(speaks);
      const { port, plane } = await proxyTo([server.port], { appProtocol });
      const seen = [
        ...(await Promise.all(["GET", "POST", "GET", "POST"].map((method) => ask(port, method)))),
        await ask(port),
      ];
      for (const { version: spoken, host, scheme, servername } of seen) {
        const wantedScheme = version === "2.0" ? "https" : undefined;
        assert.deepEqual(
          [spoken, host, scheme, servername],
          [version, "shop.example", wantedScheme, NAME],
        );
      }
      const [pool] = await poolsOf(plane);
      assert.equal(pool!.protocol, version === "2.0" ? "h2" : "http/1.1");
      assert.equal(server.connections, pool!.open);
      assert.equal((await plane.inventory())[0]!.services[0]!.endpoints[0]!.tls, NAME);
      assert.equal(await tlsFailures(plane), 0);
    });
  }

  /** Nobody is reached, whatever is sent, and it is said why. */
  async function refused(
    server: TlsOrigin,
    wanted: Partial<Wanted>,
    detail: RegExp,
  ): Promise<void> {
    const snapshot = snapshotOf(yamlTo([server.port], { ca, ...wanted }));
    const pools = new TestPools(server.port, undefined, { own: snapshot.services[0]!.tls });
    closers.push(() => pools.stop());
    const asked = [1, 2, 3].map((i) => pools.ask(`/${i}`, { method: "POST", body: 6 }));
    for (const { stream } of asked) {
      stream!.sendBody(Buffer.from("secret"));
      stream!.sendEnd(undefined);
    }
    await until("all have failed", () => asked.every(({ failure }) => failure !== undefined));
    for (const { failure } of asked) {
      assert.equal(failure!.kind, "tls_failed", failure!.detail);
      assert.match(failure!.detail, detail);
    }
    assert.equal(FAILURES.tls_failed.retry, "always");
    assert.deepEqual(server.seen, []);
    assert.ok(pools.counters.connectFailures.tls_failed > 0);
    assert.deepEqual(pools.count, [0, 0, 0]);
  }

  for (const [speaks, appProtocol, detail] of [
    ["http/1.1", "kubernetes.io/h2c", /no application protocol/],
    ["silent", "grpc", /it does not speak HTTP\/2/],
    ["h2", "kubernetes.io/wss", /no application protocol/],
  ] as const) {
    it(`as ${appProtocol}, with a server of ${speaks}, is not spoken to`, async () => {
      await refused(await origin(speaks), { appProtocol }, detail);
    });
  }

  const BAD: ReadonlyArray<readonly [string, () => Forgery, RegExp]> = [
    ["another name", () => ({ by: ca, names: [dns("b.example")] }), /not for shop\.internal/],
    ["a name above it", () => ({ by: ca, names: [dns("internal.example")] }), /not for shop/],
    ["no name but a common one", () => ({ by: ca, subject: `CN=${NAME}` }), /not for shop/],
    [
      "a wildcard for a part of a label",
      () => ({ by: ca, names: [dns("sho*.internal.example")] }),
      /not for shop/,
    ],
    ["a wildcard for two labels", () => ({ by: ca, names: [dns("*.example")] }), /not for shop/],
    [
      "an end in the past",
      () => ({
        by: ca,
        names: [dns(NAME)],
        notBefore: Date.now() - 9e6,
        notAfter: Date.now() - 1e6,
      }),
      /CERT_HAS_EXPIRED/,
    ],
    [
      "a beginning to come",
      () => ({ by: ca, names: [dns(NAME)], notBefore: Date.now() + 1e6 }),
      /CERT_NOT_YET_VALID/,
    ],
    ["an unknown CA", () => ({ by: otherCa, names: [dns(NAME)] }), /UNABLE_TO_/],
    ["no signature but its own", () => ({ names: [dns(NAME)] }), /SELF_SIGNED|UNABLE_TO_/],
    [
      "the uses of a client",
      () => ({ by: ca, names: [dns(NAME)], eku: ["1.3.6.1.5.5.7.3.2"] }),
      /INVALID_PURPOSE/,
    ],
  ];
  for (const speaks of ["both", "http/1.1"] as const) {
    for (const [what, forgery, detail] of BAD) {
      it(`of ${speaks} with a certificate of ${what} gets not one byte`, async () => {
        await refused(await origin(speaks, await forge(forgery())), {}, detail);
      });
    }
  }

  it("is known by other names of its certificate where they are said, and by them alone", async () => {
    const id = "spiffe://acme.mesh/ns/shop";
    const names = [dns("b.example"), dns("*.c.example"), url(id), url("urn:a,URI:urn:b")];
    const identity = await forge({ by: ca, names });
    const uriOf = (uri: string): string => `[{ type: URI, uri: "${uri}" }]`;
    const host = (hostname: string): string => `[{ type: Hostname, hostname: ${hostname} }]`;
    for (const right of [
      host("b.example"),
      host("x.c.example"),
      uriOf(id),
      uriOf("urn:a,URI:urn:b"),
      `[{ type: Hostname, hostname: wrong.example }, { type: URI, uri: "${id}" }]`,
    ]) {
      const server = await origin("both", identity);
      const { port } = await proxyTo([server.port], { subjectAltNames: right });
      assert.equal((await ask(port)).servername, NAME);
    }
    for (const wrong of [
      host(NAME),
      host("x.x.c.example"),
      uriOf(`${id}/x`),
      uriOf("urn:b"),
      uriOf("b.example:x"),
    ]) {
      const server = await origin("both", identity);
      await refused(server, { subjectAltNames: wrong }, /the certificate is for none of /);
    }
  });

  it("that fails its handshake is passed over, with any method", async () => {
    const wrong = await origin("both", await forge({ by: otherCa, names: [dns(NAME)] }));
    const right = await origin("both");
    const { port, plane } = await proxyTo([wrong.port, right.port]);
    for (let i = 0; i < 20; i++) await ask(port, "POST");
    assert.deepEqual([wrong.seen.length, right.seen.length], [0, 20]);
    assert.ok((await tlsFailures(plane)) > 0);
    const failures = await metric(plane, "espalier_failures_total", 'kind="tls_failed"');
    assert.ok(failures > 0);
  });

  it("that is the only one and fails its handshake is a 503 that says so", async () => {
    const server = await origin("both", await forge({ by: otherCa, names: [dns(NAME)] }));
    const { port } = await proxyTo([server.port]);
    const { status, headers } = await get(port, { method: "POST", body: "secret" });
    assert.equal(status, 503);
    assert.match(String(headers["proxy-status"]), /error=tls_certificate_error/);
  });

  it("may speak another protocol when it starts again", async () => {
    let server = await origin("h2");
    const { port, plane } = await proxyTo([server.port]);
    assert.equal((await ask(port)).version, "2.0");
    for (const [speaks, version] of [
      ["http/1.1", "1.1"],
      ["both", "2.0"],
      ["silent", "1.1"],
      ["h2", "2.0"],
    ] as const) {
      await server.stop();
      await until("its connections are gone", async () => (await poolsOf(plane))[0]!.open === 0);
      server = await origin(speaks, good, { port: server.port });
      const many = Array.from({ length: 10 }, () => ask(port, "POST"));
      for (const seen of await Promise.all(many)) assert.equal(seen.version, version, speaks);
    }
    assert.equal(await tlsFailures(plane), 0);
  });

  it("may speak another protocol on its next connection, while the old one is busy", async () => {
    const old = await origin("h2");
    const connections = "{ requests: 1 }";
    const { port, plane } = await proxyTo([old.port], { connections });
    const held = get(port, { path: "/held", timeoutMs: 30_000 });
    await until("it is asked", () => old.seen.length === 1);
    old.unlisten();
    const next = await TlsOrigin.start(good, "http/1.1", { port: old.port });
    closers.push(() => next.stop());
    for (let i = 0; i < 5; i++) assert.equal((await ask(port, "POST")).version, "1.1");
    // The one that expected HTTP/2 still.
    assert.equal(await tlsFailures(plane), 1);
    old.release();
    assert.equal((JSON.parse((await held).body) as SeenRequest).version, "2.0");
  });

  it("gets what has come of a body while its protocol was being found out", async () => {
    const server = await origin("h2");
    const { port } = await proxyTo([server.port]);
    const body = Buffer.alloc(3_000_000, "b");
    const { status } = await get(port, { method: "PUT", body });
    assert.equal(status, 200);
  });

  it("is let go of when nobody waits for its handshake any more", async () => {
    const silent = await HeldOrigin.start();
    closers.push(() => silent.stop());
    const snapshot = snapshotOf(yamlTo([silent.port], { ca }));
    const pools = new TestPools(silent.port, { pending: 1 }, { own: snapshot.services[0]!.tls });
    closers.push(() => pools.stop());
    const [a, b] = [pools.ask("/a"), pools.ask("/b")];
    assert.deepEqual([a.stream!.stage, b.stream!.stage], ["connects", "connects"]);
    assert.deepEqual(pools.count, [1, 0, 1]);
    await until("it has come", () => silent.sockets.length === 1);
    a.stream!.cancel();
    assert.equal(pools.count[0], 1);
    b.stream!.cancel();
    assert.equal(pools.count[0], 0);
    await until("the connection is closed", () => silent.closed === 1);
    const c = pools.ask("/c");
    pools.clock.advance(1_100);
    await until("its time is over", () => c.failure?.kind === "connect_timeout");
    assert.deepEqual([pools.counters.connectFailures.connect_timeout, pools.count[0]], [1, 0]);
    const d = pools.ask("/d");
    pools.upstreams.close();
    assert.deepEqual([d.failure?.kind, pools.counters.opened], ["draining", 0]);
  });

  it("is waited for by no more requests than may wait, and for no longer, while it shakes hands", async () => {
    const silent = await HeldOrigin.start();
    closers.push(() => silent.stop());
    const own = snapshotOf(yamlTo([silent.port], { ca })).services[0]!.tls;
    const rules = { pending: 2, pendingTimeoutMs: 300, connectTimeoutMs: 2_000 };
    const pools = new TestPools(silent.port, rules, { own });
    closers.push(() => pools.stop());
    const check = pools.ask("/check", {}, true);
    const [first, ...rest] = Array.from({ length: 10 }, (_, i) => pools.ask(`/${i}`));
    const other = pools.ask("/other", {}, true);
    await until("there is no room for most", () => rest.filter((r) => r.failure).length === 7);
    assert.deepEqual(pools.count, [1, 0, 2]);
    assert.deepEqual([pools.counters.waited, pools.counters.overflowed], [2, 7]);
    assert.ok(rest.slice(2).every(({ failure }) => failure?.kind === "overloaded"));
    pools.clock.advance(400);
    assert.deepEqual([pools.counters.timedOut, pools.count], [2, [1, 0, 0]]);
    assert.ok(rest.every(({ failure }) => failure?.kind === "overloaded"));
    assert.deepEqual(
      [check, first!, other].map(({ failure }) => failure),
      [undefined, undefined, undefined],
    );
    pools.clock.advance(2_000);
    for (const { failure } of [check, first!, other])
      assert.equal(failure?.kind, "connect_timeout");
    assert.deepEqual(pools.count, [0, 0, 0]);
  });

  it("serves all who waited for its first connection, checks over connections of their own", async () => {
    const server = await origin("http/1.1");
    const own = snapshotOf(yamlTo([server.port], { ca })).services[0]!.tls;
    const pools = new TestPools(server.port, { max: 1, pendingTimeoutMs: 500 }, { own });
    closers.push(() => pools.stop());
    const held = pools.ask("/held");
    const early = pools.ask("/early");
    pools.clock.advance(300);
    const late = pools.ask("/late");
    const check = pools.ask("/check", {}, true);
    await until("the check is answered", () => check.ended && pools.count[0] === 1);
    assert.deepEqual(pools.count, [1, 0, 2]);
    // Of the time that one may wait, the handshake has taken a part.
    pools.clock.advance(300);
    assert.deepEqual([early.failure?.kind, late.failure], ["overloaded", undefined]);
    server.release();
    await until("the others are answered", () => held.ended && late.ended);
    assert.deepEqual([pools.counters.waited, pools.counters.timedOut], [2, 1]);
    assert.deepEqual(pools.count, [1, 1, 0]);
  });

  it("serves who waited for a first connection over one that is idle already", async () => {
    const old = await origin("http/1.1");
    const own = snapshotOf(yamlTo([old.port], { ca })).services[0]!.tls;
    const pools = new TestPools(old.port, { max: 2 }, { own });
    closers.push(() => pools.stop());
    const first = pools.ask("/held");
    await until("it is asked", () => old.seen.length === 1);
    old.unlisten();
    // From here on nobody knows what the next connection will speak.
    const refused = pools.ask("/refused");
    await until("it has failed", () => refused.failure !== undefined);
    old.release();
    await until("its connection is idle", () => first.ended && pools.count[1] === 1);
    const server = await origin("http/1.1", good, { port: old.port });
    const [held, next] = [pools.ask("/held"), pools.ask("/next")];
    await until("the second is answered", () => next.ended);
    assert.deepEqual([held.ended, server.connections, old.connections], [false, 1, 1]);
  });

  it("is verified anew when its CAs have changed", async () => {
    const server = await origin("both", await forge({ by: otherCa, names: [dns(NAME)] }));
    const { port, plane } = await proxyTo([server.port]);
    assert.equal((await get(port)).status, 503);
    const apply = (change: Partial<Wanted>): void =>
      plane.apply({
        ...snapshotOf(yamlTo([server.port], { ca, ...change })),
        listeners: listening,
      });
    const listening = snapshotOf(yamlTo([server.port], { ca })).listeners;
    apply({ ca: otherCa });
    assert.equal((await ask(port)).version, "2.0");
    apply({ ca: otherCa, hostname: "b.example" });
    assert.equal((await get(port)).status, 503);
    apply({ ca: otherCa });
    assert.equal((await ask(port)).version, "2.0");
    apply({ ca });
    assert.equal((await get(port)).status, 503);
    assert.equal((await poolsOf(plane)).length, 1);
  });

  it("is not spoken to in the clear because another Service does so", async () => {
    const server = await origin("both");
    const yaml = yamlTo([server.port], { ca });
    const plain = gatewayYaml(
      [
        "{ matches: [{ path: { value: /plain } }], backendRefs: [{ name: plain, port: 80 }] }",
        "{ backendRefs: [{ name: origin, port: 80 }] }",
      ],
      { plain: [server.port] },
    );
    const rest = yaml.slice(yaml.indexOf("---\napiVersion: espalier.dev"));
    const { plane, port } = await startPlane(snapshotOf(plain + rest));
    closers.push(() => plane.drain(0));
    const [secure, clear] = await Promise.all([ask(port), get(port, { path: "/plain" })]);
    assert.equal(secure.version, "2.0");
    assert.ok(clear.status >= 500, String(clear.status));
    assert.equal((await ask(port)).version, "2.0");
    assert.equal(server.seen.length, 2);
  });

  it("carries WebSockets in HTTP/1.1, whatever else it speaks", async () => {
    for (const [speaks, appProtocol] of [
      ["both", "https"],
      ["http/1.1", "https"],
      ["both", "kubernetes.io/wss"],
    ] as const) {
      const server = await origin(speaks);
      const sockets = new WebSocketServer({ server: server.server });
      sockets.on("connection", (socket) => socket.on("message", (data) => socket.send(data)));
      const { port, plane } = await proxyTo([server.port], { appProtocol });
      if (appProtocol === "https") await ask(port);
      const client = new WebSocket(`ws://127.0.0.1:${port}/chat`);
      await once(client, "open");
      client.send("hello");
      const [said] = (await once(client, "message")) as [Buffer];
      assert.equal(String(said), "hello");
      assert.equal(
        (await ask(port)).version,
        speaks === "both" && appProtocol === "https" ? "2.0" : "1.1",
      );
      client.terminate();
      await once(client, "close");
      assert.equal(await tlsFailures(plane), 0);
    }
  });

  it("carries WebSockets in HTTP/2 once it has said that it can", async () => {
    const server = await origin("h2", good, { extendedConnect: true });
    const protocols: unknown[] = [];
    server.server.on("connect", (request: IncomingMessage, answer: ServerResponse) => {
      protocols.push(request.headers[":protocol"]);
      answer.end("hi");
    });
    const { port } = await proxyTo([server.port]);
    await ask(port);
    const client = connectNet(port, "127.0.0.1");
    client.write(
      "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n" +
        "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let said = "";
    client.on("data", (chunk) => {
      said += chunk.toString("latin1");
    });
    await until("it has switched", () => said.endsWith("hi"));
    assert.match(said, /^HTTP\/1\.1 101 /);
    assert.deepEqual(protocols, ["websocket"]);
    client.destroy();
  });

  it("is verified by its health checks too", async () => {
    const right = await origin("both");
    const wrong = await origin("both", await forge({ by: otherCa, names: [dns(NAME)] }));
    const yaml = yamlTo([right.port, wrong.port], { ca });
    const check =
      "healthCheck: { http: { path: /healthz, host: checks.example }, interval: 100ms }";
    const { plane } = await startPlane(
      snapshotOf(yaml.replace("  connections:", `  ${check}\n  connections:`)),
    );
    closers.push(() => plane.drain(0));
    const verdicts = async () =>
      (await plane.inventory())[0]!.services[0]!.endpoints.map(({ check }) => check);
    await until("both are judged", async () => !(await verdicts()).includes(null));
    assert.deepEqual(
      (await verdicts()).map((verdict) => [verdict!.healthy, verdict!.reason]),
      [
        [true, "HTTP 200"],
        [false, "tls_failed"],
      ],
    );
    assert.deepEqual([right.seen[0]!.host, right.seen[0]!.version], ["checks.example", "2.0"]);
    assert.deepEqual(wrong.seen, []);
  });

  it("answers calls of gRPC", async () => {
    const server = new EchoServer("one");
    const at = await server.start(0, good);
    closers.push(() => server.stop());
    const { port, plane } = await proxyTo([at], { appProtocol: "grpc" });
    const client = new EchoClient(`127.0.0.1:${port}`, undefined);
    closers.push(() => client.close());
    const calls = Array.from({ length: 20 }, (_, i) =>
      client.call("Unary", [{ body: Buffer.from(String(i)), count: 1 }]),
    );
    for (const [i, { status, replies }] of (await Promise.all(calls)).entries()) {
      assert.deepEqual([status.code, replies[0]!.body.toString()], [0, String(i)]);
    }
    const streamed = await client.call("Expand", [{ count: 100, size: 1_000 }]);
    assert.deepEqual([streamed.status.code, streamed.replies.length], [0, 100]);
    const [pool] = await poolsOf(plane);
    assert.equal(pool!.protocol, "h2");
  });
});
