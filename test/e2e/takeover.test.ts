import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { Agent } from "node:http";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { HeldOrigin } from "#test/kit/held_origin.ts";
import { get, TestOrigin } from "#test/kit/http.ts";
import {
  clusterYaml,
  type ProcessCluster,
  ProcessMesh,
  serviceYaml,
} from "#test/kit/mesh_processes.ts";
import { canHaveOwnNet, queuesMove } from "#test/kit/own_net.ts";
import { freePort } from "#test/kit/ports.ts";
import { EspalierProcess, until } from "#test/kit/processes.ts";
import { staticYaml } from "#test/kit/static_yaml.ts";

/** On a busy machine the kernel can reset a client between the last accept and the close of the old socket. */
const skip =
  !queuesMove() && canHaveOwnNet()
    ? "queues do not move here: takeover_own_net.test.ts runs it where they do"
    : false;

/** One new connection with one request; what became of it. */
function visit(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1" });
    let said = "";
    socket.on("connect", () => socket.write("GET / HTTP/1.1\r\nHost: any\r\n\r\n"));
    socket.on("data", (chunk) => {
      said += chunk.toString("latin1");
      if (said.endsWith("at once")) socket.end();
    });
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    socket.on("close", () => resolve(said.endsWith("at once") ? "served" : `cut: ${said}`));
  });
}

describe("a second process with the same file", { timeout: 120_000 }, () => {
  let dir: string;
  let file: string;
  let port: number;
  let admin: number;
  const origin = new HeldOrigin();
  const running: EspalierProcess[] = [];

  before(() => origin.start());
  after(() => origin.stop());
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "espalier-takeover-"));
    file = join(dir, "edge.yaml");
    [port, admin] = [await freePort(), await freePort()];
    await writeFile(file, staticYaml(port, origin.port));
  });
  afterEach(async () => {
    for (const { child } of running.splice(0)) child.kill("SIGKILL");
    await rm(dir, { recursive: true });
  });

  function start(...flags: string[]): EspalierProcess {
    const all = ["proxy", "-f", file, "--admin", `127.0.0.1:${admin}`, ...flags];
    const proxy = new EspalierProcess(all, { XDG_RUNTIME_DIR: dir });
    running.push(proxy);
    return proxy;
  }

  async function ready(proxy: EspalierProcess): Promise<EspalierProcess> {
    await Promise.all([proxy.ready("default/edge/http"), proxy.ready("admin")]);
    return proxy;
  }

  for (const workers of ["1", "2"]) {
    it(`takes over its ports, and no client is turned away (${workers} worker(s))`, {
      skip,
    }, async () => {
      const old = await ready(start("--workers", workers));
      const agent = new Agent({ keepAlive: true });
      await get(port, { agent });
      const long = get(port, { path: "/held" });
      await until("the long request has arrived", () => origin.held.length === 1);

      const became: string[] = [];
      let over = false;
      const visiting = (async () => {
        while (!over) became.push(await visit(port));
      })();
      const next = await ready(start("--workers", workers));
      await until("the old process drains", () => old.err.includes("takes over; draining"));
      await until("new clients come to the new one", async () => {
        const { body } = await get(admin, { path: "/metrics" });
        return /espalier_connections_accepted_total\{[^}]*\} [1-9]/.test(body);
      });
      origin.release();
      const { status, body, headers } = await long;
      assert.deepEqual([status, body, headers["connection"]], [200, "held", "close"]);
      assert.equal(await old.ended(), 0, old.err);
      for (let i = 0; i < 20; i++) became.push(await visit(port));
      over = true;
      await visiting;
      assert.deepEqual([...new Set(became)], ["served"]);
      agent.destroy();
      assert.match(next.err, /took over; the process before drains/);

      // And the next one after that.
      await ready(start("--workers", workers));
      assert.equal(await next.ended(), 0, next.err);
      assert.equal(await visit(port), "served");
    });
  }

  it("that cannot serve changes nothing", async () => {
    const old = await ready(start());
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(0, resolve));
    const taken = (holder.address() as AddressInfo).port;
    const listener = `{ name: http, port: ${port}, protocol: HTTP }`;
    const bad = staticYaml(port, origin.port);
    for (const [text, says] of [
      [bad.replace("kind: Service", "kind: Servant"), /unknown resource/],
      [
        bad.replace(listener, `${listener}, { name: two, port: ${taken}, protocol: HTTP }`),
        /EADDRINUSE/,
      ],
    ] as const) {
      await writeFile(file, text);
      const next = start();
      assert.equal(await next.ended(), 2, next.err);
      assert.match(next.err, says);
      assert.equal(await visit(port), "served");
      assert.equal((await get(admin, { path: "/live" })).status, 200);
      assert.equal(old.child.exitCode, null);
    }
    holder.close();
    await until("the old one knows", () => old.err.includes("gave up; serving on"));
    // And it still can be followed.
    await writeFile(file, bad);
    await ready(start());
    assert.equal(await old.ended(), 0, old.err);
  });

  it("serves where the first was killed, and where its socket was left", async () => {
    const old = await ready(start());
    await old.stop("SIGKILL");
    assert.equal((await readdir(join(dir, "espalier"))).length, 1);
    const next = await ready(start());
    assert.equal(await visit(port), "served");
    assert.equal(await next.stop(), 0);
    assert.deepEqual(await readdir(join(dir, "espalier")), []);
  });

  it("with another file is told that the port is in use", async () => {
    const first = await ready(start());
    for (const workers of ["1", "2"]) {
      const other = join(dir, `other-${workers}.yaml`);
      await writeFile(other, staticYaml(port, origin.port));
      const second = new EspalierProcess(
        ["proxy", "-f", other, "--admin", "127.0.0.1:0", "--workers", workers],
        { XDG_RUNTIME_DIR: dir },
      );
      running.push(second);
      assert.equal(await second.ended(), 2);
      assert.match(second.err, /spec\.listeners\[0\]\.port: .*EADDRINUSE/);
    }
    assert.equal(await first.stop(), 0);
  });

  it("is told that the port is in use where the two cannot trust their meeting place", async () => {
    await mkdir(join(dir, "espalier"));
    await chmod(join(dir, "espalier"), 0o777);
    const first = await ready(start());
    assert.match(first.err, /open to others.*no other process will be able to take over/);
    const second = start();
    assert.equal(await second.ended(), 2);
    assert.match(second.err, /EADDRINUSE/);
    assert.equal(await visit(port), "served");
  });
});

describe("a second process with the same state directory", { timeout: 120_000 }, () => {
  const host = "menu.shop.svc.acme.mesh";
  let mesh: ProcessMesh;
  let core: ProcessCluster;
  let port: number;
  const menu = new TestOrigin("menu");
  const started: EspalierProcess[] = [];

  before(async () => {
    await menu.start();
    port = await freePort();
    mesh = await ProcessMesh.create();
    core = await mesh.core({
      "cluster.yaml": clusterYaml("core.acme.mesh").replace("port: 0", `port: ${port}`),
      "menu.yaml": serviceYaml("menu", menu.port),
    });
  });
  after(async () => {
    for (const { child } of started) child.kill("SIGKILL");
    await mesh?.stop();
    await menu.stop();
  });

  const served = async (at: number): Promise<boolean> =>
    get(at, { host }).then(
      ({ status, body }) => status === 200 && body === "menu",
      () => false,
    );

  it("takes over from a gateway", async () => {
    const old = await core.startGateway();
    await old.ready("default/ingress/http");
    assert.ok(await served(port));
    const next = await core.startGateway();
    assert.equal((await next.ready("default/ingress/http")).port, port);
    assert.equal(await old.ended(), 0, old.err);
    assert.ok(await served(port));
  });

  it("takes over from a sidecar, both of its sides", async () => {
    const [inbound, outbound] = [await freePort(), await freePort()];
    const flags = [
      ...["--inbound", `127.0.0.1:${inbound}`, "--app", `127.0.0.1:${menu.port}`],
      ...["--service", "menu.shop", "--outbound", `127.0.0.1:${outbound}`],
    ];
    const old = await core.startSidecar("menu", ...flags);
    await until("the mesh is reached", () => served(outbound));
    const state = join(core.dir, "sidecar-menu");
    const next = new EspalierProcess(["proxy", "--state", state, ...flags, "--admin", "[::1]:0"]);
    started.push(next);
    assert.equal((await next.ready("inbound")).port, inbound);
    assert.equal((await next.ready("outbound")).port, outbound);
    assert.equal(await old.ended(), 0, old.err);
    await until("the mesh is reached", () => served(outbound));
    assert.equal(await next.stop(), 0);
  });
});
