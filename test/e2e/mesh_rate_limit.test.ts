import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { get, TestOrigin } from "#test/kit/http.ts";
import { serviceYaml } from "#test/kit/mesh_processes.ts";
import { EspalierProcess, until } from "#test/kit/processes.ts";
import { counterOf } from "#test/kit/proxy.ts";

const CORE = "core.acme.mesh";
const STORES = ["store-1.eu.acme.mesh", "store-2.eu.acme.mesh"] as const;
/** Requests per second, of all stores together. */
const RATE = 40;
const BURST = 10;

const clusterText = (name: string): string => `apiVersion: espalier.dev/v1alpha1
kind: Cluster
metadata: { name: ${name} }
spec: { mesh: acme.mesh, gateway: { listen: "127.0.0.1:0" } }
`;

const ingressText = (store: string, i: number): string => `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: ingress-${i}, annotations: { espalier.dev/cluster: ${store} } }
spec: { gatewayClassName: espalier, listeners: [{ name: http, port: 0, protocol: HTTP }] }
`;

const POLICY = `apiVersion: espalier.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: menu, namespace: shop, annotations: { espalier.dev/cluster: ${CORE} } }
spec:
  targetRef: { group: espalier.dev, kind: Service, name: menu }
  rateLimits: [{ name: all, scope: Mesh, requests: ${RATE}, per: 1s, burst: ${BURST} }]
`;

describe("a rate limit of the whole mesh", { timeout: 120_000 }, () => {
  const origin = new TestOrigin("menu@core");
  let dir: string;
  let up: EspalierProcess;
  let ports: number[];

  before(async () => {
    await origin.start();
    dir = await mkdtemp(join(tmpdir(), "espalier-limit-"));
    for (const name of [CORE, "eu.acme.mesh", ...STORES]) {
      await writeFile(join(dir, `${name}.yaml`), clusterText(name));
    }
    const service = serviceYaml("menu", origin.port).replaceAll(
      "namespace: shop }",
      `namespace: shop, annotations: { espalier.dev/cluster: ${CORE} } }`,
    );
    const files = { service, ingress: STORES.map(ingressText).join("---\n"), policy: POLICY };
    for (const [name, text] of Object.entries(files)) {
      await writeFile(join(dir, `${name}.yaml`), text);
    }
    up = new EspalierProcess(["up", "-f", dir, "--admin", "127.0.0.1:0"]);
    const ready = await Promise.all(STORES.map((_, i) => up.ready(`default/ingress-${i}/http`)));
    ports = ready.map(({ port }) => port);
  });
  after(async () => {
    await up.stop();
    await origin.stop();
    await rm(dir, { recursive: true, force: true });
  });

  it("never lets more pass than it says, however much comes to which store", async () => {
    const host = "menu.shop.svc.acme.mesh";
    const { port: admin } = await up.ready("admin");
    // The process shows the sum over its clusters: until they have leases each has a 64th.
    await until("all of it is leased", async () => {
      const { body } = await get(admin, { path: "/metrics" });
      const leased = counterOf(body, "espalier_rate_limit_tokens_per_second");
      assert.ok(leased <= RATE * 1.001, `${leased} leased of ${RATE}`);
      return leased > RATE * 0.9;
    });
    for (const port of ports) {
      await until("the store knows of it", async () => (await get(port, { host })).status === 200);
    }
    const before = origin.seen.length;
    let passed = 0;
    let refused = 0;
    let over = false;
    const ask = async (port: number): Promise<void> => {
      while (!over) {
        const { status, headers } = await get(port, { host });
        if (status === 200) passed++;
        else {
          assert.equal(status, 429);
          assert.ok(Number(headers["retry-after"]) >= 1);
          refused++;
        }
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    const began = performance.now();
    const clients = [ports[0]!, ports[0]!, ports[0]!, ports[1]!].map(ask);
    await until("more has come than may pass", () => refused > 100 && passed > BURST + 20, 60_000);
    over = true;
    await Promise.all(clients);
    const seconds = (performance.now() - began) / 1_000;
    // Each cluster may always save one request.
    const most = RATE * seconds + BURST + STORES.length;
    assert.ok(passed <= most, `${passed} passed of ${most} in ${seconds} s`);
    assert.equal(origin.seen.length - before, passed);
  });
});
