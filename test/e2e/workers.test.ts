import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { Agent } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import { HeldOrigin } from "#test/kit/held_origin.ts";
import { get } from "#test/kit/http.ts";
import { EspalierProcess, until } from "#test/kit/processes.ts";
import { staticYaml } from "#test/kit/static_yaml.ts";

interface Process {
  readonly process: number;
  readonly clients: ReadonlyArray<{ readonly client: string; readonly state: string }>;
}

describe("the life of a proxy's processes", { timeout: 180_000 }, () => {
  let dir: string;
  let file: string;
  const origin = new HeldOrigin();
  const running: EspalierProcess[] = [];

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "espalier-workers-"));
    file = join(dir, "edge.yaml");
    await origin.start();
    await writeFile(file, staticYaml(0, origin.port));
  });
  after(async () => {
    await origin.stop();
    await rm(dir, { recursive: true });
  });
  afterEach(() => {
    for (const { child } of running.splice(0)) child.kill("SIGKILL");
    origin.release();
  });

  async function start(flags: readonly string[], env: Record<string, string> = {}) {
    const all = ["proxy", "-f", file, "--admin", "127.0.0.1:0", ...flags];
    const proxy = new EspalierProcess(all, { XDG_RUNTIME_DIR: dir, ...env });
    running.push(proxy);
    const { port } = await proxy.ready("default/edge/http");
    const admin = (await proxy.ready("admin")).port;
    return { proxy, port, admin };
  }

  async function processes(admin: number): Promise<readonly Process[]> {
    return JSON.parse((await get(admin, { path: "/connections" })).body);
  }

  async function metric(admin: number, name: string): Promise<number> {
    const { status, body } = await get(admin, { path: "/metrics" });
    assert.equal(status, 200);
    const line = body.split("\n").find((l) => l.startsWith(name) && !l.startsWith("#"));
    return Number(line?.split(" ").at(-1));
  }

  it("a killed worker loses its own connections and no others, and what it counted stays", async () => {
    const { proxy, port, admin } = await start(["--workers", "2"]);
    const asked = Array.from({ length: 16 }, () =>
      get(port, { path: "/held" }).then(
        ({ status }) => status,
        (error: NodeJS.ErrnoException) => error.code,
      ),
    );
    for (let i = 0; i < 10; i++) await get(port);
    await until("all have arrived", () => origin.held.length === 16);
    const [victim, other] = await processes(admin);
    const lost = victim!.clients.filter(({ state }) => state === "answer").length;
    const kept = other!.clients.filter(({ state }) => state === "answer").length;
    assert.equal(lost + kept, 16);
    const counted = await metric(admin, "espalier_connections_accepted_total");
    assert.equal(counted, 26);

    process.kill(victim!.process, "SIGKILL");
    await until("it is missed", () => proxy.err.includes("worker ended; starting another"));
    assert.ok((await metric(admin, "espalier_connections_accepted_total")) >= counted);
    origin.release();
    const became = await Promise.all(asked);
    assert.equal(became.filter((what) => what === 200).length, kept);
    assert.equal(became.filter((what) => what === "ECONNRESET").length, lost);

    await until("another runs", async () => (await processes(admin)).length === 2);
    await until("it serves", async () => {
      await get(port);
      const [one, two] = await Promise.all([
        metric(admin, "espalier_workers_running"),
        metric(admin, "espalier_worker_restarts_total"),
      ]);
      return one === 2 && two === 1;
    });
    assert.ok((await metric(admin, "espalier_connections_accepted_total")) > counted);
    assert.equal((await get(admin, { path: "/ready" })).status, 200);
    assert.equal(await proxy.stop(), 0);
  });

  it("workers that all end at their start end the command, and it says why", async () => {
    const bad = join(dir, "bad.cjs");
    await writeFile(bad, 'if (process.argv[1].endsWith("/worker.ts")) process.exit(7);\n');
    const all = ["proxy", "-f", file, "--admin", "127.0.0.1:0", "--workers", "2"];
    const env = { XDG_RUNTIME_DIR: dir, NODE_OPTIONS: `--require ${bad}` };
    const proxy = new EspalierProcess(all, env);
    running.push(proxy);
    assert.equal(await proxy.ended(), 1);
    assert.match(proxy.err, /^no worker process serves: the last one ended \(code 7\)$/m);
    // Each of them waited longer than the one before.
    assert.ok(proxy.err.split("starting another").length <= 8, proxy.err);
  });

  for (const workers of ["1", "2"]) {
    it(`SIGTERM lets a long answer end and lets nobody in, with ${workers} worker(s)`, async () => {
      const { proxy, port, admin } = await start(["--workers", workers, "--drain", "60"]);
      const long = get(port, { path: "/held" });
      await until("it has arrived", () => origin.held.length === 1);
      const silent = connect({ port, host: "127.0.0.1" });
      await new Promise((resolve) => silent.once("connect", resolve));
      const idle = new Agent({ keepAlive: true });
      await get(port, { agent: idle });

      proxy.child.kill("SIGTERM");
      await until("it says so", async () => (await get(admin, { path: "/ready" })).status === 503);
      assert.equal((await get(admin, { path: "/ready" })).body, "draining\n");
      await until("nobody is let in any more", () =>
        get(port).then(
          () => false,
          (error: NodeJS.ErrnoException) => error.code === "ECONNREFUSED",
        ),
      );
      assert.equal(proxy.child.exitCode, null);
      origin.release();
      const { status, body, headers } = await long;
      assert.deepEqual([status, body, headers["connection"]], [200, "held", "close"]);
      assert.equal(await proxy.ended(), 0);
      silent.destroy();
      idle.destroy();
    });

    it(`an answer without end is cut after --drain, with ${workers} worker(s)`, async () => {
      const { proxy, port } = await start(["--workers", workers, "--drain", "1"]);
      const endless = get(port, { path: "/endless" }).then(
        () => "whole",
        (error: NodeJS.ErrnoException) => error.code,
      );
      await until("it runs", async () => (await get(port)).status === 200);
      proxy.child.kill("SIGTERM");
      assert.equal(await endless, "ECONNRESET");
      assert.equal(await proxy.ended(), 0);
    });

    it(`a second SIGTERM ends at once, with ${workers} worker(s)`, async () => {
      const { proxy, port, admin } = await start(["--workers", workers, "--drain", "600"]);
      const long = get(port, { path: "/held" }).then(
        () => "whole",
        (error: NodeJS.ErrnoException) => error.code,
      );
      await until("it has arrived", () => origin.held.length === 1);
      const pids = (await processes(admin)).map((one) => one.process);
      proxy.child.kill("SIGTERM");
      await until("it drains", async () => (await get(admin, { path: "/ready" })).status === 503);
      assert.equal(await proxy.stop(), 130);
      assert.equal(await long, "ECONNRESET");
      await until("no worker is left", () => !pids.some(runs));
    });
  }

  it("workers whose primary was killed end their running requests, and themselves", async () => {
    const { proxy, port, admin } = await start(["--workers", "2"]);
    const long = get(port, { path: "/held" });
    await until("it has arrived", () => origin.held.length === 1);
    const pids = (await processes(admin)).map((one) => one.process);
    await proxy.stop("SIGKILL");
    await until("nobody is let in any more", () =>
      get(port).then(
        () => false,
        (error: NodeJS.ErrnoException) => error.code === "ECONNREFUSED",
      ),
    );
    origin.release();
    const { status, headers } = await long;
    assert.deepEqual([status, headers["connection"]], [200, "close"]);
    await until("no worker is left", () => !pids.some(runs));
  });
});

/** A process that has ended and was not collected yet runs no more. */
function runs(pid: number): boolean {
  const path = `/proc/${pid}/stat`;
  if (!existsSync(path)) return false;
  try {
    return !/\) Z /.test(readFileSync(path, "utf8"));
  } catch {
    return false;
  }
}
