import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { connect as connectTls } from "node:tls";
import { loadAuthority } from "#certs/authority/ca_files.ts";
import { issueLeaf } from "#certs/authority/issue.ts";
import { cryptoKeys, newKeyPem } from "#certs/authority/keys.ts";
import { gatewayId, type SpiffeId } from "#certs/identity/spiffe_id.ts";
import { get, rawExchange, TestOrigin } from "#test/kit/http.ts";
import { cluster, must } from "#test/kit/mesh.ts";
import {
  clusterYaml,
  type ProcessCluster,
  ProcessMesh,
  serviceYaml,
} from "#test/kit/mesh_processes.ts";
import { type EspalierProcess, until } from "#test/kit/processes.ts";

describe("hostile neighbours", { timeout: 240_000 }, () => {
  let mesh: ProcessMesh;
  let core: ProcessCluster;
  let store: ProcessCluster;
  let gateway: EspalierProcess;
  const origin = new TestOrigin("menu@core");

  before(async () => {
    mesh = await ProcessMesh.create();
    await origin.start();
    core = await mesh.core({
      "cluster.yaml": clusterYaml("core.acme.mesh"),
      "menu.yaml": serviceYaml("menu", origin.port),
    });
    store = await mesh.child("store-1.acme.mesh", core, {
      "cluster.yaml": clusterYaml("store-1.acme.mesh"),
    });
    gateway = await core.startGateway();
  });

  after(async () => {
    await mesh?.stop();
    await origin.stop();
  });

  /** What the stolen CA of store-1 can make its holder say to core's gateway. */
  async function speakAs(id: SpiffeId, path: string): Promise<string> {
    const stolen = must(await loadAuthority(join(store.state, "ca")));
    const key = await newKeyPem();
    const by = { certPem: stolen.chainPem, keyPem: stolen.keyPem };
    const { publicKey } = await cryptoKeys(key);
    const leaf = await issueLeaf(
      by,
      { id, dnsNames: [], publicKey },
      { wall: Date.now(), ttl: 600_000 },
    );
    const { port } = await gateway.ready("mesh");
    return new Promise((resolve) => {
      const socket = connectTls({
        port,
        host: "127.0.0.1",
        cert: leaf + stolen.chainPem,
        key,
        ca: stolen.rootsPem,
        servername: "core.acme.mesh",
        checkServerIdentity: () => undefined,
      });
      let said = "";
      socket.on("data", (chunk) => {
        said += chunk.toString();
        if (said.includes("menu@core")) socket.destroy();
      });
      socket.on("error", () => {});
      socket.on("close", () => resolve(said));
      socket.write(
        `GET / HTTP/1.1\r\nhost: menu\r\nconnection: close\r\nx-mesh-service: menu.shop\r\nx-mesh-path: ${path}\r\n\r\n`,
      );
    });
  }

  it("lets a store speak for itself", async () => {
    const said = await speakAs(gatewayId(cluster("store-1")), "store-1.acme.mesh");
    assert.match(said, /^HTTP\/1\.1 200 OK\r\n[\s\S]*menu@core/);
  });

  for (const name of ["store-2", "core", "x.store-1", "eu"]) {
    it(`refuses a store that presents a certificate for ${name}`, async () => {
      const before = origin.seen.length;
      const said = await speakAs(gatewayId(cluster(name)), `${name}.acme.mesh`);
      assert.equal(said, "");
      assert.equal(origin.seen.length, before, "nothing of it may reach an upstream");
    });
  }

  it("refuses a store that claims another's path", async () => {
    const before = origin.seen.length;
    const said = await speakAs(gatewayId(cluster("store-1")), "store-2.acme.mesh");
    assert.match(said, /^HTTP\/1\.1 403 /);
    assert.equal(origin.seen.length, before);
  });

  it("answers garbage on every port with a refusal, and stays as it is", async () => {
    const control = core.control;
    const ports = new Map<string, number>();
    for (const listener of ["api", "enrol", "admin", "bus"]) {
      ports.set(listener, (await control.ready(listener)).port);
    }
    for (const listener of ["mesh", "default/ingress/http", "admin"]) {
      ports.set(`gateway ${listener}`, (await gateway.ready(listener)).port);
    }
    for (const port of ports.values()) await throwGarbage(port, 10);
    const rssBefore = await Promise.all([control, gateway].map(rssOf));
    for (const port of ports.values()) await throwGarbage(port, 40);
    const rssAfter = await Promise.all([control, gateway].map(rssOf));
    rssAfter.forEach((rss, i) => {
      assert.ok(rss < rssBefore[i]! + 40_000, `memory grew from ${rssBefore[i]} to ${rss} kB`);
    });
    const plain = ports.get("gateway default/ingress/http")!;
    assert.match(await rawExchange(plain, "GET / HTTP/1.1\nhost: x\n\n"), /^HTTP\/1\.1 400 /);
    const { status } = await get(plain, { host: "menu.shop.svc.acme.mesh" });
    assert.equal(status, 200);
    const { port: admin } = await control.ready("admin");
    await until(
      "control is ready",
      async () => (await get(admin, { path: "/ready" })).status === 200,
    );
    const metrics = await get((await gateway.ready("admin")).port, { path: "/metrics" });
    assert.match(
      metrics.body,
      /espalier_requests_refused_total\{[^}]*reason="bad_request"[^}]*\} \d/,
    );
  });
});

async function throwGarbage(port: number, times: number): Promise<void> {
  const shapes = [
    () => randomBytes(512),
    () => Buffer.concat([Buffer.from("GET / HTTP/1.1\r\nhost: a\r\n"), randomBytes(256)]),
    () => Buffer.concat([Buffer.from([0x16, 3, 1, 2, 0]), randomBytes(512)]),
    () => Buffer.from(`GET /${"a".repeat(100_000)} HTTP/1.1\r\n\r\n`),
    () => Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), randomBytes(200)]),
    () => Buffer.from(`CONNECT {${'"a":'.repeat(2_000)}}\r\n`),
  ];
  await Promise.all(
    Array.from({ length: times }, (_, i) => rawExchange(port, shapes[i % shapes.length]!(), 300)),
  );
}

/** Resident memory of the process, kB. */
async function rssOf({ child }: EspalierProcess): Promise<number> {
  const text = await readFile(`/proc/${child.pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(text)?.[1]);
}
