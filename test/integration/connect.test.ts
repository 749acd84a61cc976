import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { afterEach, describe, it } from "node:test";
import { problemsOf, snapshotOf } from "#test/kit/gateway.ts";
import { freePort } from "#test/kit/ports.ts";
import { until } from "#test/kit/processes.ts";
import { startPlane } from "#test/kit/proxy.ts";
import { onHeads, RawClient, RawOrigin } from "#test/kit/raw.ts";

const close: Array<() => Promise<unknown> | unknown> = [];
afterEach(async () => {
  for (const act of close.splice(0).reverse()) await act();
});

const ASK = "CONNECT db.example:5432 HTTP/1.1\r\nhost: db.example:5432\r\n\r\n";

/** A Gateway with these rules, and a service `db` of this kind at `port`. */
function yamlOf(rules: string, kind: "tcp" | "http", port: number, parameters = ""): string {
  const infrastructure =
    parameters === ""
      ? ""
      : ", infrastructure: { parametersRef: { group: espalier.dev, kind: GatewayParameters, name: p } }";
  return `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: edge }
spec: { gatewayClassName: espalier, listeners: [{ name: http, port: 0, protocol: HTTP }]${infrastructure} }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: tunnels }
spec:
  parentRefs: [{ name: edge }]
  rules: ${rules}
---
apiVersion: espalier.dev/v1alpha1
kind: Service
metadata: { name: db }
spec: { ports: [{ port: 80, appProtocol: ${kind} }], endpoints: [{ address: 127.0.0.1, port: ${port} }] }
${parameters}`;
}

const TO_DB = "backendRefs: [{ name: db, port: 80 }]";
const ALLOWED = `[{ matches: [{ method: CONNECT }], ${TO_DB} }]`;

async function proxy(yaml: string) {
  const { plane, port } = await startPlane(snapshotOf(yaml));
  close.push(() => plane.drain(0));
  return { plane, port };
}

async function origin(serve: (socket: Socket, nth: number) => void): Promise<RawOrigin> {
  const started = new RawOrigin(serve);
  await started.start();
  close.push(() => started.stop());
  return started;
}

function client(port: number, first: string): RawClient {
  const one = new RawClient(port, first);
  close.push(() => one.socket.destroy());
  return one;
}

/** Sends everything back, and a last word when its peer ends. */
function echo(socket: Socket): void {
  socket.on("data", (chunk) => socket.write(chunk));
  socket.on("end", () => socket.end("bye"));
}

describe("CONNECT to a service that takes connections", { timeout: 60_000 }, () => {
  it("opens a tunnel to its endpoint, whatever host the client names", async () => {
    const db = await origin(echo);
    const { port, plane } = await proxy(yamlOf(ALLOWED, "tcp", db.port));
    const one = client(port, `${ASK}early,`);
    await one.hears("early,");
    assert.match(one.said, /^HTTP\/1\.1 200 OK\r\n/);
    const head = one.said.slice(0, one.said.indexOf("\r\n\r\n"));
    assert.doesNotMatch(head, /content-length|transfer-encoding|upgrade|connection/i);
    one.send("late,");
    await one.hears("late,");
    one.socket.end("last,");
    await until("its end", () => one.ended);
    assert.ok(one.said.endsWith("\r\n\r\nearly,late,last,bye"), one.said);
    assert.equal(db.heard, "early,late,last,");
    assert.match(
      await plane.metricsText(),
      /espalier_requests_total\{service="db.default",code_class="2xx"\} 1/,
    );
  });

  it("moves much data in both directions", async () => {
    const db = await origin((socket) => {
      socket.on("data", (chunk) => {
        if (!socket.write(chunk)) socket.pause();
      });
      socket.on("drain", () => socket.resume());
      socket.on("end", () => socket.end());
    });
    const { port } = await proxy(yamlOf(ALLOWED, "tcp", db.port));
    const one = client(port, ASK);
    await one.hears("\r\n\r\n");
    one.socket.end(Buffer.alloc(8_000_000, "x"));
    await until("its end", () => one.ended);
    assert.equal(one.said.length - one.said.indexOf("\r\n\r\n") - 4, 8_000_000);
  });

  it("says 503 where nobody listens, and ends: what followed is no request", async () => {
    const { port } = await proxy(yamlOf(ALLOWED, "tcp", await freePort()));
    const said = await client(port, `${ASK}GET / HTTP/1.1\r\nhost: a\r\n\r\n`).rest();
    assert.match(said, /^HTTP\/1\.1 503 /);
    assert.match(said, /proxy-status: [a-z.]+; error=connection_refused\r\n/);
    assert.match(said, /connection: close\r\n/);
    assert.equal(said.match(/HTTP\/1\.1/g)!.length, 1, said);
  });

  it("ends both sides when either is reset, and when nothing moves", async () => {
    const db = await origin(echo);
    const parameters = `---
apiVersion: espalier.dev/v1alpha1
kind: GatewayParameters
metadata: { name: p }
spec: { timeouts: { streamIdle: 200ms } }
`;
    const { port } = await proxy(yamlOf(ALLOWED, "tcp", db.port, parameters));
    const idle = client(port, `${ASK}a`);
    await idle.hears("a");
    await until("the idle one's end", () => idle.closed);
    await until("its endpoint's", () => db.sockets[0]!.closed);
    const lost = client(port, `${ASK}b`);
    await lost.hears("b");
    db.sockets[1]!.resetAndDestroy();
    await until("the client's end", () => lost.closed);
    const gone = client(port, `${ASK}c`);
    await gone.hears("c");
    gone.socket.resetAndDestroy();
    await until("the endpoint's end", () => db.sockets[2]!.closed);
  });
});

describe("CONNECT to a service of HTTP", { timeout: 60_000 }, () => {
  it("is passed on, and its 2xx opens the tunnel: not one byte before", async () => {
    let accept = (): void => {};
    const db = await origin((socket) => {
      onHeads(socket, (head, nth) => {
        if (nth > 0) return;
        accept = () => {
          // Neither length may be believed (RFC 9110 §9.3.6).
          socket.write("HTTP/1.1 200 Tunnel\r\ncontent-length: 3\r\nx-a: b\r\n\r\n");
          socket.removeAllListeners("data");
          echo(socket);
        };
        assert.match(head, /^CONNECT db\.example:5432 HTTP\/1\.1\r\nhost: db\.example:5432\r\n/);
      });
    });
    const { port } = await proxy(yamlOf(ALLOWED, "http", db.port));
    const one = client(port, `${ASK}early,`);
    await until("the head", () => db.heard.includes("\r\n\r\n"));
    one.send("also early,");
    // Another exchange from end to end: had those bytes been passed on, they would be there by now.
    const other = client(port, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert.match(await other.rest(), /^HTTP\/1\.1 404 /);
    assert.ok(db.heard.endsWith("\r\n\r\n"), db.heard);
    accept();
    await one.hears("also early,");
    assert.match(one.said, /^HTTP\/1\.1 200 Tunnel\r\n.*x-a: b\r\n/s);
    assert.doesNotMatch(one.said, /content-length|transfer-encoding|connection:/i);
    one.socket.end("last,");
    await until("its end", () => one.ended);
    assert.ok(one.said.endsWith("\r\n\r\nearly,also early,last,bye"), one.said);
  });

  it("hands an endpoint's refusal on, and ends", async () => {
    const db = await origin((socket) =>
      onHeads(socket, () => socket.write("HTTP/1.1 407 No\r\ncontent-length: 2\r\n\r\nno")),
    );
    const { port } = await proxy(yamlOf(ALLOWED, "http", db.port));
    const said = await client(port, `${ASK}GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n`).rest();
    assert.match(said, /^HTTP\/1\.1 407 No\r\n/);
    assert.match(said, /connection: close\r\n/);
    assert.ok(said.endsWith("\r\n\r\nno"), said);
    assert.ok(!db.heard.includes("smuggled"), db.heard);
  });

  it("says 502 if the endpoint switches instead, or goes away", async () => {
    for (const answer of ["HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: y\r\n\r\n", ""]) {
      const db = await origin((socket) => onHeads(socket, () => socket.end(answer)));
      const { port } = await proxy(yamlOf(ALLOWED, "http", db.port));
      const said = await client(port, ASK).rest();
      assert.match(said, /^HTTP\/1\.1 502 /);
      assert.match(said, /proxy-status: /);
    }
  });
});

describe("CONNECT without a route for it", { timeout: 60_000 }, () => {
  const NOT_HERE = [
    ["a rule for everything", `[{ ${TO_DB} }]`],
    ["a rule for another method", `[{ matches: [{ method: GET }], ${TO_DB} }]`],
    [
      "a rule for CONNECT of others",
      `[{ matches: [{ method: CONNECT, headers: [{ name: x-key, value: k }] }], ${TO_DB} }]`,
    ],
  ] as const;
  for (const [what, rules] of NOT_HERE) {
    it(`is 405 beside ${what}, and the connection ends`, async () => {
      const db = await origin((socket) => onHeads(socket, () => socket.end()));
      const { port } = await proxy(yamlOf(rules, "http", db.port));
      const said = await client(port, `${ASK}GET / HTTP/1.1\r\nhost: a\r\n\r\n`).rest();
      assert.match(said, /^HTTP\/1\.1 405 Method Not Allowed\r\n/);
      assert.match(said, /\r\nallow: \r\n/);
      assert.match(said, /proxy-status: [a-z.]+; error=http_request_denied\r\n/);
      assert.match(said, /connection: close\r\n/);
      assert.equal(said.match(/HTTP\/1\.1/g)!.length, 1, said);
      assert.equal(db.sockets.length, 0);
    });
  }

  it("is 405 for an address of the mesh", async () => {
    const db = await origin(echo);
    const { port } = await proxy(yamlOf(`[{ ${TO_DB} }]`, "http", db.port));
    const host = "db.default.svc.local:80";
    const said = await client(port, `CONNECT ${host} HTTP/1.1\r\nhost: ${host}\r\n\r\n`).rest();
    assert.match(said, /^HTTP\/1\.1 405 /);
    assert.equal(db.sockets.length, 0);
  });

  it("does not take requests of other methods where one is for CONNECT", async () => {
    const db = await origin(echo);
    const { port } = await proxy(yamlOf(ALLOWED, "tcp", db.port));
    const said = await client(
      port,
      "GET / HTTP/1.1\r\nhost: db.example:5432\r\nconnection: close\r\n\r\n",
    ).rest();
    assert.match(said, /^HTTP\/1\.1 404 /);
    assert.equal(db.sockets.length, 0);
  });
});

describe("a route for CONNECT", () => {
  const problems = (rules: string, kind: "tcp" | "http" = "http"): string =>
    problemsOf(yamlOf(rules, kind, 1)).join("\n");

  it("may name services of either kind", () => {
    assert.equal(problems(ALLOWED, "tcp"), "");
    assert.equal(problems(ALLOWED, "http"), "");
    assert.match(
      problems(`[{ matches: [{ method: CONNECT }, { method: GET }], ${TO_DB} }]`, "tcp"),
      /needs appProtocol http/,
    );
  });

  it("may not ask for what a tunnel does not have", () => {
    const one = (match: string, more = ""): string =>
      problems(`[{ matches: [{ method: CONNECT${match} }], ${TO_DB}${more} }]`);
    assert.match(
      one(", path: { value: /x }"),
      /matches\[0\]\.path: the target of CONNECT has no path/,
    );
    assert.match(one(', path: { type: Exact, value: "/" }'), /has no path/);
    assert.match(one(", queryParams: [{ name: a, value: b }]"), /has no query/);
    const filter = "{ type: URLRewrite, urlRewrite: { hostname: a.example } }";
    assert.match(
      one("", `, filters: [${filter}]`),
      /filters\[0\]\.type: URLRewrite is not for CONN/,
    );
  });

  it("cannot be one for TRACE", () => {
    assert.match(
      problems(`[{ matches: [{ method: TRACE }], ${TO_DB} }]`),
      /matches\[0\]\.method: TRACE is never passed on/,
    );
  });
});
