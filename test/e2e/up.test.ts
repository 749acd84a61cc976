import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { get, rawExchange, TestOrigin } from "#test/kit/http.ts";
import { serviceYaml } from "#test/kit/mesh_processes.ts";
import { EspalierProcess, espalier, until } from "#test/kit/processes.ts";
import { onHeads, RawClient, RawOrigin } from "#test/kit/raw.ts";

const CLUSTERS = ["core.acme.mesh", "eu.acme.mesh", "store-1.eu.acme.mesh"];
const STORE = "store-1.eu.acme.mesh";

function clusterText(name: string): string {
  return `apiVersion: espalier.dev/v1alpha1
kind: Cluster
metadata: { name: ${name} }
spec: { mesh: acme.mesh, gateway: { listen: "127.0.0.1:0" } }
`;
}

const INGRESS = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: ingress, annotations: { espalier.dev/cluster: ${STORE} } }
spec: { gatewayClassName: espalier, listeners: [{ name: http, port: 0, protocol: HTTP }] }
`;

const POLICY = `apiVersion: espalier.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: all, annotations: { espalier.dev/cluster: core.acme.mesh } }
spec: { limits: { retries: 7 } }
`;

/** CONNECT to hosts of these names comes out at these services, which only the core has. */
const TUNNELS = ["db", "proxy"].map(
  (name) => `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: ${name}, annotations: { espalier.dev/cluster: ${STORE} } }
spec:
  parentRefs: [{ name: ingress }]
  hostnames: [${name}.example]
  rules: [{ matches: [{ method: CONNECT }], backendRefs: [{ name: ${name}, namespace: shop, port: 80 }] }]
---
`,
);

describe("espalier up", { timeout: 60_000 }, () => {
  let dir: string;
  let up: EspalierProcess;
  const core = new TestOrigin("menu@core");
  /** Sends back what it gets, and a last word. */
  const db = new RawOrigin(echo);
  /** A CONNECT is something that it answers itself. */
  const forward = new RawOrigin((socket) =>
    onHeads(socket, () => {
      socket.removeAllListeners("data");
      socket.write("HTTP/1.1 200 Tunnel\r\nx-a: b\r\n\r\n");
      echo(socket);
    }),
  );

  before(async () => {
    await core.start();
    dir = await mkdtemp(join(tmpdir(), "espalier-up-"));
    for (const name of CLUSTERS) await writeFile(join(dir, `${name}.yaml`), clusterText(name));
    await writeFile(join(dir, "ingress.yaml"), INGRESS);
    const services = [
      serviceYaml("menu", core.port),
      serviceYaml("db", await db.start(), undefined, "tcp"),
      serviceYaml("proxy", await forward.start()),
    ];
    const atCore = services.map((text) =>
      text.replaceAll(
        "namespace: shop }",
        "namespace: shop, annotations: { espalier.dev/cluster: core.acme.mesh } }",
      ),
    );
    await writeFile(join(dir, "services.yaml"), atCore.join("---\n"));
    await writeFile(join(dir, "tunnels.yaml"), TUNNELS.join(""));
    await writeFile(join(dir, "policy.yaml"), POLICY);
    up = new EspalierProcess(["up", "-f", dir, "--admin", "127.0.0.1:0"]);
  });
  after(async () => {
    await up.stop();
    await core.stop();
    db.stop();
    forward.stop();
    await rm(dir, { recursive: true });
  });

  it("serves a request of a store by the core, two levels up", async () => {
    const { port } = await up.ready("default/ingress/http");
    const host = "menu.shop.svc.acme.mesh";
    await until("the store knows of it", async () => (await get(port, { host })).status === 200);
    const { body } = await get(port, { host });
    assert.equal(body, "menu@core");
  });

  for (const [name, says] of [
    ["db", /^HTTP\/1\.1 200 OK\r\n/],
    // HTTP/2 between the clusters has no reason phrase.
    ["proxy", /^HTTP\/1\.1 200 OK\r\nx-a: b\r\n/],
  ] as const) {
    it(`takes a CONNECT from the store to ${name} in the core, two levels up`, async () => {
      const { port } = await up.ready("default/ingress/http");
      const host = `${name}.example:5432`;
      const ask = `CONNECT ${host} HTTP/1.1\r\nhost: ${host}\r\n\r\n`;
      await until("the store knows of it", async () => {
        const said = await rawExchange(port, ask, 200);
        return said.startsWith("HTTP/1.1 200 ");
      });
      const one = new RawClient(port, `${ask}early,`);
      await one.hears("early,");
      assert.match(one.said, says);
      const head = one.said.slice(0, one.said.indexOf("\r\n\r\n"));
      assert.doesNotMatch(head, /content-length|transfer-encoding|upgrade|connection:|x-mesh/i);
      // Each direction ends for itself, and carries more than any buffer on the way.
      const load = Buffer.alloc(4_000_000, "x");
      one.send(load);
      one.socket.end("last,");
      await until("its end", () => one.ended || one.closed);
      assert.equal(one.said.length, head.length + "\r\n\r\nearly,last,bye".length + load.length);
      assert.ok(one.said.endsWith("xlast,bye"));
    });
  }

  it("explains where it goes and why, for people and for programs", async () => {
    const { port } = await up.ready("admin");
    const url = "http://menu.shop.svc.acme.mesh/";
    const flags = ["--from", STORE, "--admin", `127.0.0.1:${port}`];
    const json = await espalier("explain", url, ...flags, "--json");
    const [service] = JSON.parse(json.out).services;
    assert.deepEqual(
      [service.service, service.locales[0].kind, service.locales[0].cluster],
      ["menu.shop", "parent", "eu.acme.mesh"],
    );
    const text = await espalier("explain", url, ...flags);
    assert.match(text.out, /LOCALE +CLUSTER +WEIGHT[\s\S]*parent +eu\.acme\.mesh +100 %/);
    const wrong = await espalier(
      "explain",
      url,
      "--from",
      "nowhere",
      "--admin",
      `127.0.0.1:${port}`,
    );
    assert.equal(wrong.code, 1);
    assert.match(wrong.err, /no gateway in "nowhere"; there are: core\.acme\.mesh/);
  });

  it("follows in a store what the core has written, and says whose it is", async () => {
    const { port } = await up.ready("admin");
    const url = "http://menu.shop.svc.acme.mesh/";
    const ask = ["explain", url, "--from", STORE, "--admin", `127.0.0.1:${port}`, "--policy"];
    await until("it has come down", async () => (await espalier(...ask)).out.includes("retries"));
    const { out } = await espalier(...ask);
    assert.match(
      out,
      /policy \{"limits":\{"retries":7\}\}\n +core\.acme\.mesh default\/all: limits\.retries\n/,
    );
    const { body } = await get(port, { path: "/metrics" });
    assert.match(body, /espalier_policy_services\{cluster="store-1\.eu\.acme\.mesh"\} [1-9]/);
    assert.match(body, /espalier_policy_refused\{cluster="store-1\.eu\.acme\.mesh"\} 0/);
  });

  it("says at a SIGHUP that it does not reload, and goes on", async () => {
    up.child.kill("SIGHUP");
    await until("a word of it", () => up.err.includes("reads its files once"));
    const { port } = await up.ready("default/ingress/http");
    assert.equal((await get(port, { host: "menu.shop.svc.acme.mesh" })).status, 200);
  });

  it("shows every cluster's state and metrics on one port", async () => {
    const { port } = await up.ready("admin");
    const clusters = JSON.parse((await get(port, { path: "/clusters" })).body);
    assert.deepEqual(
      clusters.map((c: { cluster: string }) => c.cluster),
      CLUSTERS,
    );
    const metrics = (await get(port, { path: "/metrics" })).body;
    assert.match(metrics, /espalier_catalog_children\{cluster="core\.acme\.mesh"\} 1/);
    assert.match(metrics, /espalier_link_up\{cluster="eu\.acme\.mesh"/);
    // Of each gateway by itself.
    for (const at of CLUSTERS) {
      assert.match(metrics, new RegExp(`espalier_requests_total\\{[^}]*at="${at}"`));
    }
  });

  it("refuses a tree with a hole: exit code 2", async () => {
    const file = join(dir, "..", `hole-${process.pid}.yaml`);
    await writeFile(file, clusterText(STORE));
    const { code, err } = await espalier("up", "-f", file);
    await rm(file);
    assert.equal(code, 2);
    assert.match(err, /:3: metadata\.name: its parent eu\.acme\.mesh is not defined/);
  });
});

/** Sends everything back as its peer takes it, and a last word when its peer ends. */
function echo(socket: Socket): void {
  socket.on("data", (chunk: Buffer) => {
    if (!socket.write(chunk)) socket.pause();
  });
  socket.on("drain", () => socket.resume());
  socket.on("end", () => socket.end("bye"));
}
