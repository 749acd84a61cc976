import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { get, TestOrigin } from "#test/kit/http.ts";
import { EspalierProcess, espalier, until } from "#test/kit/processes.ts";
import { staticYaml } from "#test/kit/static_yaml.ts";

describe("espalier proxy -f", { timeout: 120_000 }, () => {
  let dir: string;
  let file: string;
  const one = new TestOrigin("one");
  const two = new TestOrigin("two");
  const running: EspalierProcess[] = [];

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "espalier-static-"));
    file = join(dir, "edge.yaml");
    await Promise.all([one.start(), two.start()]);
  });
  after(async () => {
    for (const process of running) process.child.kill("SIGKILL");
    await Promise.all([one.stop(), two.stop()]);
    await rm(dir, { recursive: true });
  });

  function start(...flags: string[]): EspalierProcess {
    const proxy = new EspalierProcess(["proxy", "-f", file, "--admin", "127.0.0.1:0", ...flags]);
    running.push(proxy);
    return proxy;
  }

  for (const workers of ["1", "2"]) {
    it(`serves, reloads, refuses a bad file, and ends well, with ${workers} worker(s)`, async () => {
      await writeFile(file, staticYaml(0, one.port));
      const proxy = start("--workers", workers);
      const { port, address } = await proxy.ready("default/edge/http");
      assert.equal(address, "::", "all interfaces");
      const admin = (await proxy.ready("admin")).port;
      for (let i = 0; i < 10; i++) assert.equal((await get(port)).body, "one");
      assert.equal((await get(admin, { path: "/ready" })).status, 200);

      await writeFile(file, staticYaml(0, two.port));
      await until("the changed file is in force", async () => (await get(port)).body === "two");

      await writeFile(file, staticYaml(0, two.port).replace("kind: Service", "kind: Servant"));
      await until("the bad file is refused", () => proxy.err.includes("unknown resource"));
      assert.equal((await get(port)).body, "two");
      const configOf = async () => JSON.parse((await get(admin, { path: "/config" })).body);
      assert.match((await configOf()).refused.join("\n"), /unknown resource/);

      await writeFile(file, staticYaml(0, one.port));
      proxy.child.kill("SIGHUP");
      await until("SIGHUP has reloaded", async () => (await get(port)).body === "one");

      const metrics = (await get(admin, { path: "/metrics" })).body;
      assert.match(
        metrics,
        /espalier_requests_total\{service="origin\.default",code_class="2xx"\} \d\d/,
      );
      assert.match(
        metrics,
        /espalier_request_duration_seconds_count\{service="origin\.default"\} \d\d/,
      );
      assert.match(metrics, /espalier_snapshots_accepted_total [3-9]\n/);
      assert.match(metrics, /espalier_snapshots_refused_total [1-9]\n/);
      const config = await configOf();
      assert.deepEqual([config.source, config.refused], ["static", []]);
      const explained = await espalier(
        "explain",
        "http://any/",
        "--json",
        "--admin",
        `127.0.0.1:${admin}`,
      );
      assert.equal(JSON.parse(explained.out).services[0].locales[0].kind, "local");
      const place = ["--grpc", "--admin", `127.0.0.1:${admin}`];
      const call = await espalier("explain", "http://no.one.svc.local/a.B/C", ...place);
      assert.match(call.out, /nobody serves no\.one \(UNAVAILABLE\)/);
      assert.equal(await proxy.stop(), 0);
    });
  }

  it("starts a worker again that has died", async () => {
    await writeFile(file, staticYaml(0, one.port));
    const proxy = start("--workers", "2");
    const { port } = await proxy.ready("default/edge/http");
    const { pid } = proxy.child;
    const workersOf = (): number[] =>
      readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").map(Number);
    const before = workersOf();
    assert.equal(before.length, 2);
    process.kill(before[0]!, "SIGKILL");
    await until("two others run", () => {
      const now = workersOf();
      return now.length === 2 && !now.includes(before[0]!);
    });
    await until("it serves", async () => (await get(port)).body === "one");
    assert.equal(await proxy.stop(), 0);
  });

  it("tells every problem of a bad file with its place, and starts nothing: exit code 2", async () => {
    const bad = staticYaml(0, one.port)
      .replace("name: origin, port: 80 }]", "name: gone, port: 80 }]")
      .replace("name: edge }]", "name: edgy }]");
    await writeFile(file, bad);
    const { code, err, out } = await espalier("proxy", "-f", file);
    assert.equal(code, 2);
    assert.equal(out, "");
    assert.deepEqual(
      err
        .trim()
        .split("\n")
        .map((line) => line.replace(dir, "")),
      [
        "/edge.yaml:12: spec.parentRefs[0].name: no Gateway default/edgy is defined",
        "/edge.yaml:13: spec.rules[0].backendRefs[0].name: no Service gone.default is defined",
      ],
    );
  });

  it("tells of a missing file and of a port in use: exit code 2", async () => {
    const gone = await espalier("proxy", "-f", join(dir, "gone.yaml"));
    assert.equal(gone.code, 2);
    assert.match(gone.err, /gone\.yaml: no such file or directory/);
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(0, resolve));
    const { port } = holder.address() as AddressInfo;
    await writeFile(file, staticYaml(port, one.port));
    const taken = await espalier("proxy", "-f", file, "--admin", "127.0.0.1:0");
    holder.close();
    assert.equal(taken.code, 2);
    assert.match(taken.err, /edge\.yaml:6: spec\.listeners\[0\]\.port: .*EADDRINUSE/);
    assert.doesNotMatch(taken.out, /default\/edge\/http/);
  });

  it("tells of a wrong command line: exit code 2; and of itself", async () => {
    for (const args of [
      ["proxy"],
      ["proxy", "-f", file, "--workers", "0"],
      ["nonsense"],
      ["proxy", "--admin", "x"],
    ]) {
      assert.equal((await espalier(...args)).code, 2, args.join(" "));
    }
    const help = await espalier("--help");
    assert.equal(help.code, 0);
    for (const command of ["up", "proxy", "control", "ca", "token", "join", "explain", "demo"]) {
      assert.match(help.out, new RegExp(`\\b${command}\\b`));
      assert.equal((await espalier(command, "--help")).code, 0, command);
    }
    assert.match((await espalier("--version")).out, /^\d+\.\d+\.\d+\n$/);
  });
});
