import assert from "node:assert/strict";
import { Agent } from "node:http";
import { after, before, describe, it } from "node:test";
import type { Inventory } from "#proxy/app/inventory.ts";
import { get, TestOrigin } from "#test/kit/http.ts";
import {
  clusterYaml,
  type ProcessCluster,
  ProcessMesh,
  serviceYaml,
} from "#test/kit/mesh_processes.ts";
import { freePort } from "#test/kit/ports.ts";
import { type EspalierProcess, espalier, until } from "#test/kit/processes.ts";
import { metricOf, promtoolSays } from "#test/kit/promtool.ts";

const MENU = "menu.shop.svc.acme.mesh";

describe("three clusters of separate processes", { timeout: 240_000 }, () => {
  let mesh: ProcessMesh;
  let core: ProcessCluster;
  let near: ProcessCluster;
  let far: ProcessCluster;
  /** The sidecar of the other store's workload. */
  let beside: EspalierProcess;
  let coreGateway: EspalierProcess;
  let farGateway: EspalierProcess;
  let outbound = 0;
  const coreMenu = new TestOrigin("menu@core");
  const farMenu = new TestOrigin("menu@store-2");
  const farOrders = new TestOrigin("orders@store-2");

  before(async () => {
    mesh = await ProcessMesh.create();
    await Promise.all([coreMenu.start(), farMenu.start(), farOrders.start()]);
    core = await mesh.core({
      // Fixed, so that its children find it where it was when it is started again.
      "cluster.yaml": clusterYaml("core.acme.mesh", {
        bus: await freePort(),
        api: await freePort(),
      }),
      "menu.yaml": serviceYaml("menu", coreMenu.port),
    });
    [near, far] = await Promise.all([
      mesh.child("store-1.acme.mesh", core, { "cluster.yaml": clusterYaml("store-1.acme.mesh") }),
      mesh.child("store-2.acme.mesh", core, { "cluster.yaml": clusterYaml("store-2.acme.mesh") }),
    ]);
    [coreGateway, , farGateway] = await Promise.all([
      core.startGateway(),
      near.startGateway(),
      far.startGateway(),
    ]);
    beside = await far.startSidecar(
      "menu",
      ...["--inbound", "127.0.0.1:0", "--app", `127.0.0.1:${farMenu.port}`],
      ...["--service", "menu.shop", "--outbound", "127.0.0.1:0"],
    );
    const { port } = await beside.ready("inbound");
    await far.configure("menu.yaml", serviceYaml("menu", port, "/ns/shop/sa/menu"));
    const client = await near.startSidecar("client", "--outbound", "127.0.0.1:0");
    outbound = (await client.ready("outbound")).port;
  });

  after(async () => {
    await mesh?.stop();
    await Promise.all([coreMenu.stop(), farMenu.stop(), farOrders.stop()]);
  });

  it("serves a workload from the other store, mTLS all the way", async () => {
    await until("the other store answers", async () => {
      const { status, body } = await get(outbound, { host: "menu.shop.svc.store-2.acme.mesh" });
      return status === 200 && body === "menu@store-2";
    });
    const caller = farMenu.seen.at(-1)!.headers["x-mesh-caller"];
    assert.equal(caller, undefined, "no x-mesh field reaches a workload's plain port");
  });

  it("shows both sides of a sidecar on its admin port", async () => {
    const { port } = await beside.ready("admin");
    const metrics = (await get(port, { path: "/metrics" })).body;
    const inbound = [
      'espalier_requests_total{service="menu.shop",code_class="2xx",direction="inbound"}',
      'espalier_connections_accepted_total{listener="inbound",direction="inbound"}',
      'espalier_listener_requests_total{listener="inbound",direction="inbound"}',
    ];
    for (const series of inbound) assert.ok(metricOf(metrics, series)! > 0, series);
    assert.equal(metricOf(metrics, 'espalier_connections_open{listener="outbound"}'), 0);
    assert.ok(metricOf(metrics, 'process_open_fds{process="main"}')! > 0);
    assert.equal(promtoolSays(metrics) ?? "", "");
    const { body } = await get(port, { path: "/connections" });
    const listeners = (JSON.parse(body) as Inventory[]).flatMap(({ clients }) =>
      clients.map(({ listener }) => listener),
    );
    assert.deepEqual([...new Set(listeners)], ["inbound"]);
  });

  it("has metrics of control services and gateways that promtool finds nothing against", async (t) => {
    if (promtoolSays("") === undefined) {
      t.skip("promtool is not on PATH (Debian: package prometheus)");
      return;
    }
    for (const process of [core.control, near.control, coreGateway]) {
      const { port } = await process.ready("admin");
      const metrics = (await get(port, { path: "/metrics" })).body;
      assert.equal(promtoolSays(metrics), "");
      assert.ok(metricOf(metrics, 'process_open_fds{process="main"}')! > 0);
    }
  });

  it("shows a change in one store to the other", async () => {
    const before = await get(outbound, { host: "orders.shop.svc.acme.mesh" });
    assert.equal(before.status, 503);
    await far.configure("orders.yaml", serviceYaml("orders", farOrders.port));
    await until("orders are seen", async () => {
      const { status, body } = await get(outbound, { host: "orders.shop.svc.acme.mesh" });
      return status === 200 && body === "orders@store-2";
    });
  });

  it("goes on when a bus is killed: it is started again and all find it", async () => {
    const killed = await core.busPid();
    process.kill(killed, "SIGKILL");
    await far.configure("till.yaml", serviceYaml("till", farOrders.port));
    await until("the change has come through the new bus", async () => {
      const { status, body } = await get(outbound, { host: "till.shop.svc.acme.mesh" });
      return status === 200 && body === "orders@store-2";
    });
    assert.notEqual(await core.busPid(), killed);
  });

  it("loses no GET when a gateway is killed under 200 requests/s", async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 32 });
    const answers = new Map<string, number>();
    let sent = 0;
    let done = 0;
    const timer = setInterval(() => {
      sent++;
      const count = (what: string) => {
        done++;
        answers.set(what, (answers.get(what) ?? 0) + 1);
      };
      get(outbound, { host: MENU, agent }).then(
        ({ status, body }) => count(status === 200 ? body : `status ${status}`),
        (error: Error) => count(error.message),
      );
    }, 5);
    await until("traffic flows", () => done > 100);
    await farGateway.stop("SIGKILL");
    const killedAt = sent;
    await until("traffic after the kill", () => done > killedAt + 400);
    clearInterval(timer);
    await until("all are answered", () => done === sent);
    agent.destroy();
    const good = (answers.get("menu@core") ?? 0) + (answers.get("menu@store-2") ?? 0);
    assert.equal(good, sent, JSON.stringify([...answers]));
    assert.ok((answers.get("menu@core") ?? 0) > 300, JSON.stringify([...answers]));
  });

  it("lets no second control service use the same state directory", async () => {
    const second = await espalier("control", "-f", core.config, "--state", core.state);
    assert.equal(second.code, 2);
    assert.match(second.err, /is in use by the control service with process id \d+/);
  });

  it("lets a token be used once, and only for what it is for", async () => {
    const token = await core.token("--gateway");
    const join = (n: number) => espalier("join", token, "--state", `${mesh.dir}/thief-${n}`);
    const all = await Promise.all([join(1), join(2), join(3)]);
    assert.deepEqual(all.map(({ code }) => code).sort(), [0, 1, 1]);
    const refused = all.find(({ code }) => code === 1)!;
    assert.match(refused.err, /the join token is not valid/);
    const foreign = ["token", "create", "--state", near.state, "--enrol", "x:1"];
    const { code, err } = await espalier(...foreign, "--cluster", "store-2.acme.mesh");
    assert.equal(code, 2);
    assert.match(err, /does not stand right below store-1\.acme\.mesh/);
  });

  it("finds its children again after a control service was killed and started again", async () => {
    await core.control.stop("SIGKILL");
    await core.startControl();
    const { port } = await core.control.ready("admin");
    await until("the children are heard", async () => {
      const { body } = await get(port, { path: "/config" });
      const known = JSON.parse(body).children as Array<{ cluster: string; freshness: string }>;
      return known.length === 2 && known.every(({ freshness }) => freshness === "fresh");
    });
  });

  it("serves from disk when every control service and every bus is dead", async () => {
    const clusters = [core, near, far];
    const buses = await Promise.all(clusters.map((cluster) => cluster.busPid()));
    await Promise.all(clusters.map((cluster) => cluster.control.stop("SIGKILL")));
    for (const pid of buses) process.kill(pid, "SIGKILL");
    await coreGateway.stop("SIGKILL");
    coreGateway = await core.startGateway();
    const { port } = await coreGateway.ready("default/ingress/http");
    const { status, body } = await get(port, { host: MENU });
    assert.deepEqual([status, body], [200, "menu@core"]);
  });
});
