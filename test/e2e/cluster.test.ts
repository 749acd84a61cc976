import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { OrdersAnswer } from "#control/app/order_routes.ts";
import { get, TestOrigin } from "#test/kit/http.ts";
import { serviceYaml } from "#test/kit/mesh_processes.ts";
import { EspalierProcess, espalier, until } from "#test/kit/processes.ts";

const CORE = "core.acme.mesh";
const REGION = "eu.acme.mesh";
const STORE = "store-1.eu.acme.mesh";
const SIBLING = "store-2.eu.acme.mesh";

function clusterText(name: string): string {
  return `apiVersion: espalier.dev/v1alpha1
kind: Cluster
metadata: { name: ${name} }
spec: { mesh: acme.mesh, gateway: { listen: "127.0.0.1:0" } }
---
`;
}

function at(cluster: string, service: string): string {
  const annotation = `annotations: { espalier.dev/cluster: ${cluster} } }`;
  return service.replaceAll("namespace: shop }", `namespace: shop, ${annotation}`);
}

const INGRESS = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: ingress, annotations: { espalier.dev/cluster: ${STORE} } }
spec: { gatewayClassName: espalier, listeners: [{ name: http, port: 0, protocol: HTTP }] }
`;

describe("espalier cluster", { timeout: 180_000 }, () => {
  let dir: string;
  let up: EspalierProcess;
  const here = new TestOrigin("store-1");
  const beside = new TestOrigin("store-2");

  before(async () => {
    await Promise.all([here.start(), beside.start()]);
    dir = await mkdtemp(join(tmpdir(), "espalier-cluster-"));
    const texts = [
      ...[CORE, REGION, STORE, SIBLING].map(clusterText),
      at(STORE, serviceYaml("menu", here.port)),
      "---\n",
      at(SIBLING, serviceYaml("menu", beside.port)),
      "---\n",
      at(STORE, serviceYaml("solo", here.port)),
      "---\n",
      INGRESS,
    ];
    await writeFile(join(dir, "tree.yaml"), texts.join(""));
    up = new EspalierProcess(["up", "-f", dir, "--admin", "127.0.0.1:0"]);
    await until(
      "the store's service is served",
      async () => (await asked("menu")).body === "store-1",
    );
  });
  after(async () => {
    await up.stop();
    await Promise.all([here.stop(), beside.stop()]);
    await rm(dir, { recursive: true });
  });

  async function asked(service: string): Promise<{ status: number; body: string }> {
    const { port } = await up.ready("default/ingress/http");
    return get(port, { host: `${service}.shop.svc.acme.mesh` });
  }

  /** The command at the tree's admin port, at its core unless `flags` say otherwise. */
  async function run(...flags: string[]) {
    const { port } = await up.ready("admin");
    return espalier("cluster", ...flags, "--admin", `127.0.0.1:${port}`);
  }

  /** What the commands read, without a process for each look. */
  async function orders(from: string) {
    const { port } = await up.ready("admin");
    return JSON.parse((await get(port, { path: `/orders?from=${from}` })).body) as OrdersAnswer;
  }

  it("drains a cluster, tells of services that nobody else serves, and brings it back", async () => {
    await until("both stores are known", async () => {
      return (await orders(REGION)).children.every(({ services }) => services > 0);
    });
    const drained = await run("drain", STORE, "--from", REGION);
    assert.deepEqual([drained.code, drained.out], [0, `${STORE} is drained, says ${REGION}\n`]);
    assert.equal(drained.err, "warning: nobody else serves solo.shop: its requests get 503\n");
    await until(
      "its clients are served elsewhere",
      async () => (await asked("menu")).body === "store-2",
    );
    await until("nobody serves the other", async () => (await asked("solo")).status === 503);
    const again = await run("drain", STORE, "--from", REGION);
    assert.equal(again.out, `${STORE} is drained already, says ${REGION}\n`);
    const { out } = await run("list", "--from", REGION);
    assert.match(out, /store-1\.eu\.acme\.mesh +fresh +2 +yes\n/);
    assert.match(out, /store-2\.eu\.acme\.mesh +fresh +1 +no\n/);
    assert.match(out, /drain +eu\.acme\.mesh +store-1\.eu\.acme\.mesh/);
    await until("the store has heard of it", async () => (await orders(STORE)).drained);
    const wrongly = await run("undrain", STORE, "--from", STORE);
    assert.equal(wrongly.code, 1);
    assert.match(wrongly.err, /stays drained: eu\.acme\.mesh has drained it; undrain that there/);
    const { port } = await up.ready("admin");
    const metrics = (await get(port, { path: "/metrics" })).body;
    assert.match(metrics, /espalier_children_drained\{cluster="eu\.acme\.mesh"\} 1/);
    assert.match(
      metrics,
      /espalier_orders\{cluster="store-1\.eu\.acme\.mesh",kind="drain",from="above"\} 1/,
    );
    const back = await run("undrain", STORE, "--from", REGION);
    assert.equal(back.out, `${STORE} takes requests again, says ${REGION}\n`);
    await until("it serves again", async () => (await asked("menu")).body === "store-1");
  });

  it("pins a service to a cluster and lets go of it", async () => {
    const pinned = await run("pin", "menu.shop", SIBLING);
    assert.deepEqual(
      [pinned.code, pinned.out],
      [0, `menu.shop is pinned to ${SIBLING}, says ${CORE}\n`],
    );
    await until("the store has heard of it", async () => {
      const pin = (await orders(STORE)).heard.find(({ kind }) => kind === "pin");
      return pin?.kind === "pin" && pin.service === "menu.shop" && pin.cluster === SIBLING;
    });
    assert.match((await run("unpin", "menu.shop")).out, /^menu\.shop is unpinned/);
    await until("the store has heard of that", async () => {
      return (await orders(STORE)).heard.length === 0;
    });
  });

  it("has a cluster forget an epoch, if it remembers another one than is said", async () => {
    const { code, out } = await run("forget-epoch", "menu.shop");
    const text = `the highest epoch of menu.shop is what is said now already, says ${CORE}\n`;
    assert.deepEqual([code, out], [0, text]);
    assert.equal((await run("forget-epoch", "no-name!")).code, 2);
  });

  it("refuses what it is not to say, and says why", async () => {
    for (const [flags, code, why] of [
      [
        ["drain", REGION, "--from", STORE],
        1,
        /eu\.acme\.mesh is not below store-1\.eu\.acme\.mesh/,
      ],
      [["drain", "store-9.eu.acme.mesh"], 0, /^$/],
      [["undrain", "store-9.eu.acme.mesh"], 0, /^$/],
      [["drain", "store-9.eu.acme.mesh", "--from", REGION], 1, /has no child store-9/],
      [["pin", "nothing.shop", STORE], 1, /no service nothing\.shop is known here/],
      [["drain", "NO"], 2, /"NO" is not a cluster name/],
      [["pin", "a.b.c", STORE], 2, /not a service name/],
      [["list", "--from", "nowhere"], 1, /no cluster "nowhere"; there are: core\.acme\.mesh/],
    ] as const) {
      const done = await run(...flags);
      assert.equal(done.code, code, done.err);
      assert.match(done.err, why);
    }
    const { port } = await up.ready("admin");
    assert.equal((await get(port, { path: "/drain?cluster=x" })).status, 404);
  });
});
