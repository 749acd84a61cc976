import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { Agent } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { serverCertificate } from "#test/kit/certificates.ts";
import { get, rawExchange, TestOrigin } from "#test/kit/http.ts";
import { EspalierProcess, espalier, until } from "#test/kit/processes.ts";
import { metricOf, promtoolSays } from "#test/kit/promtool.ts";
import { staticYaml } from "#test/kit/static_yaml.ts";

const LISTENER = "default/edge/http";

const ERROR = "certificate not taken up";
const WARNING = "not watched";

describe("what an operator sees of espalier proxy", { timeout: 120_000 }, () => {
  let dir: string;
  let file: string;
  const origin = new TestOrigin("one");
  const running: EspalierProcess[] = [];

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "espalier-observe-"));
    file = join(dir, "edge.yaml");
    await origin.start();
    await writeFile(file, logged(staticYaml(0, origin.port)));
  });
  after(async () => {
    for (const { child } of running) child.kill("SIGKILL");
    await origin.stop();
    await rm(dir, { recursive: true });
  });

  function logged(yaml: string): string {
    const reference =
      "infrastructure: { parametersRef: { group: espalier.dev, kind: GatewayParameters, name: p } }";
    return `${yaml.replace("gatewayClassName: espalier\n", `gatewayClassName: espalier\n  ${reference}\n`)}---
apiVersion: espalier.dev/v1alpha1
kind: GatewayParameters
metadata: { name: p }
spec: { accessLog: {} }
`;
  }

  async function start(...flags: string[]) {
    const proxy = new EspalierProcess(["proxy", "-f", file, "--admin", "127.0.0.1:0", ...flags]);
    running.push(proxy);
    const { port } = await proxy.ready(LISTENER);
    const admin = (await proxy.ready("admin")).port;
    const ask = async (path: string, method = "GET") => get(admin, { path, method });
    return { proxy, port, admin, ask, metrics: async () => (await ask("/metrics")).body };
  }

  function workersOf({ child: { pid } }: EspalierProcess): number[] {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
    return text.trim().split(" ").map(Number);
  }

  const linesOf = (path: string): string[] =>
    existsSync(path) ? readFileSync(path, "utf8").split("\n").slice(0, -1) : [];

  it("loses no line of the access log when it is rotated, with two workers", async () => {
    const path = join(dir, "access.log");
    const { proxy, port } = await start("--workers", "2", "--access-log", path);
    let asked = 0;
    const files = [path];
    for (let turn = 0; turn < 4; turn++) {
      const agent = new Agent({ keepAlive: true, maxSockets: 8 });
      const some = Array.from({ length: 100 }, () => get(port, { path: `/${asked++}`, agent }));
      const old = `${path}.${turn}`;
      await until("some line is there", () => linesOf(path).length > 0);
      await rename(path, old);
      files.push(old);
      proxy.child.kill("SIGHUP");
      await Promise.all(some);
      agent.destroy();
      await until("a new file is there", () => existsSync(path));
    }
    assert.equal(await proxy.stop(), 0);
    const paths = files.flatMap(linesOf).map((line) => JSON.parse(line)["url.path"] as string);
    const numbers = paths.map((one) => Number(one.slice(1))).sort((a, b) => a - b);
    assert.deepEqual(
      numbers,
      Array.from({ length: asked }, (_, i) => i),
    );
  });

  it("writes the access log to stdout, between its own lines", async () => {
    const { proxy, port } = await start("--workers", "2");
    for (let i = 0; i < 20; i++) await get(port, { path: `/${i}` });
    assert.equal(await proxy.stop(), 0);
    const lines = proxy.out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    assert.equal(lines.filter((line) => line["url.path"] !== undefined).length, 20);
    assert.equal(lines.filter(({ event }) => event === "ready").length, 2);
  });

  it("serves on when nobody reads stdout any more, and ends in time", async () => {
    const { proxy, port, metrics } = await start();
    proxy.child.stdout!.destroy();
    await get(port);
    await until("it is said", () => proxy.err.includes("EPIPE"));
    for (let i = 0; i < 20; i++) assert.equal((await get(port)).status, 200);
    assert.equal(metricOf(await metrics(), "espalier_access_log_dropped_total"), 0);
    assert.equal(await proxy.stop(), 0);
    assert.match(proxy.err, /"lines":21,"message":"access log ended early"/);
  });

  it("serves on when stdout is read no further, drops what is too much, and ends in time", async () => {
    const { proxy, port, metrics } = await start();
    proxy.child.stdout!.pause();
    const agent = new Agent({ keepAlive: true, maxSockets: 8 });
    const path = `/${"x".repeat(1_000)}`;
    const headers = { "user-agent": "y".repeat(1_000) };
    for (let turn = 0; turn < 10; turn++) {
      const some = Array.from({ length: 300 }, () => get(port, { path, headers, agent }));
      for (const { status } of await Promise.all(some)) assert.equal(status, 200);
    }
    agent.destroy();
    assert.ok(
      metricOf(await metrics(), "espalier_access_log_dropped_total")! > 0,
      "7 MB against 4",
    );
    assert.equal(await proxy.stop(), 0);
    assert.match(proxy.err, /access log ended early/);
  });

  it("serves on when its disk is full", async () => {
    const { proxy, port } = await start("--access-log", "/dev/full");
    for (let i = 0; i < 20; i++) assert.equal((await get(port)).status, 200);
    await until("it is said", () => proxy.err.includes("ENOSPC"));
    assert.equal(await proxy.stop(), 0);
  });

  for (const workers of ["1", "2"]) {
    it(`refuses a log file that cannot be opened: exit code 2, with ${workers} worker(s)`, async () => {
      const path = join(dir, "nowhere", "access.log");
      const flags = ["--workers", workers, "--access-log", path, "--admin", "127.0.0.1:0"];
      const { code, err, out } = await espalier("proxy", "-f", file, ...flags);
      assert.equal(code, 2);
      assert.match(err, /^--access-log: ENOENT.*nowhere/);
      assert.equal(out, "");
    });

    it(`tells of itself at its admin port, with ${workers} worker(s)`, async () => {
      const { proxy, port, admin, ask, metrics } = await start("--workers", workers);
      const agent = new Agent({ keepAlive: true });
      for (let i = 0; i < 5; i++) await get(port, { agent, method: "POST", body: "abc" });
      await rawExchange(port, "GET / HTTP/1.1\r\n\r\n");

      const [live, ready] = [await ask("/live"), await ask("/ready")];
      assert.deepEqual([live.status, live.body], [200, "live\n"]);
      assert.deepEqual([ready.status, ready.body], [200, "ready\n"]);
      const config = JSON.parse((await ask("/config")).body);
      assert.equal(config.snapshot.listeners[0].name, LISTENER);

      const clusters = JSON.parse((await ask("/clusters")).body);
      assert.equal(clusters.length, Number(workers));
      for (const { services } of clusters) {
        assert.equal(services[0].service, "origin.default");
        const [endpoint] = services[0].endpoints;
        assert.deepEqual([endpoint.port, endpoint.ejectedForMs], [origin.port, 0]);
      }
      const connections = JSON.parse((await ask("/connections")).body);
      const clients = connections.flatMap((one: { clients: object[] }) => one.clients);
      assert.equal(clients.length, 1);
      const { bytesIn, bytesOut, ...client } = clients[0];
      assert.deepEqual(client, {
        listener: LISTENER,
        client: "127.0.0.1",
        state: "idle",
        requests: 5,
      });
      assert.ok(bytesIn > 100 && bytesOut > 100, `${bytesIn} ${bytesOut}`);

      assert.deepEqual(JSON.parse((await ask("/log")).body), { level: "info" });
      const set = await ask("/log?level=debug", "POST");
      assert.deepEqual([set.status, JSON.parse(set.body)], [200, { level: "debug" }]);
      assert.deepEqual(JSON.parse((await ask("/log")).body), { level: "debug" });
      assert.equal((await ask("/log?level=loud", "POST")).status, 400);
      assert.equal((await ask("/log", "POST")).status, 400);
      assert.equal((await ask("/log?level=info", "PUT")).status, 405);
      assert.equal((await ask("/ready", "POST")).status, 405);
      assert.equal((await ask("/nothing")).status, 404);
      const headers = { origin: "https://a.example" };
      const page = { path: "/log?level=error", method: "POST", headers };
      assert.equal((await get(admin, page)).status, 403, "a page in the operator's browser");

      const text = await metrics();
      const of = (series: string) => metricOf(text, series);
      assert.equal(of('espalier_requests_total{service="origin.default",code_class="2xx"}'), 5);
      assert.equal(of(`espalier_listener_requests_total{listener="${LISTENER}"}`), 5);
      assert.equal(of('espalier_request_body_bytes_total{service="origin.default"}'), 15);
      assert.equal(of('espalier_response_body_bytes_total{service="origin.default"}'), 15);
      assert.equal(of('espalier_response_first_byte_seconds_count{service="origin.default"}'), 5);
      const refused = `espalier_requests_refused_total{listener="${LISTENER}",reason="bad_request"}`;
      assert.equal(of(refused), 1);
      const max = 10_000 * Number(workers);
      assert.equal(of(`espalier_connections_limit{listener="${LISTENER}"}`), max);
      const where = 'service="origin.default",locale="local",cluster="core.local"';
      assert.equal(of(`espalier_locale_weight{${where}}`), 1, "a share, not a sum of shares");
      assert.match(text, /espalier_build_info\{version="[\d.]+[^"]*",node="26\./);
      const processes = workers === "1" ? ["main"] : ["main", "worker-0", "worker-1"];
      for (const name of processes) {
        assert.ok(of(`process_resident_memory_bytes{process="${name}"}`)! > 1e6, name);
        assert.ok(of(`process_cpu_seconds_total{process="${name}"}`)! > 0, name);
      }
      agent.destroy();
      assert.equal(await proxy.stop(), 0);
    });
  }

  it("changes what is logged in every worker", async () => {
    const certs = join(dir, "certs");
    await mkdir(certs);
    const { certificate, key } = await serverCertificate("shop.example");
    await writeFile(join(certs, "tls.crt"), certificate);
    await writeFile(join(certs, "tls.key"), key);
    const secure = join(dir, "secure.yaml");
    const shop = "{ kind: Certificate, group: espalier.dev, name: shop }";
    const listener = `port: 0, protocol: HTTPS, tls: { certificateRefs: [${shop}] }`;
    await writeFile(
      secure,
      `${staticYaml(0, origin.port).replace("port: 0, protocol: HTTP", listener)}---
apiVersion: espalier.dev/v1alpha1
kind: Certificate
metadata: { name: shop }
spec: { certificateFile: ${certs}/tls.crt, keyFile: ${certs}/tls.key }
`,
    );
    const flags = ["proxy", "-f", secure, "--admin", "127.0.0.1:0", "--workers", "2"];
    const proxy = new EspalierProcess(flags);
    running.push(proxy);
    const { port: admin } = await proxy.ready("admin");
    await proxy.ready(LISTENER);
    // At each reload every worker now says one thing as an error and one as a warning.
    await rm(certs, { recursive: true });
    const said = (from: number, message: string): number => {
      const lines = proxy.err.slice(from).split("\n").slice(0, -1);
      const told = lines.filter((line) => line.includes(message));
      return new Set(told.map((line) => JSON.parse(line).worker)).size;
    };
    const reload = async (message: string): Promise<void> => {
      const from = proxy.err.length;
      proxy.child.kill("SIGHUP");
      await until(`${message} from both`, () => said(from, message) === 2);
    };
    await reload(WARNING);
    await get(admin, { path: "/log?level=error", method: "POST" });
    const from = proxy.err.length;
    await reload(ERROR);
    // What follows an error of one reload has come when there is one of the next.
    await reload(ERROR);
    assert.equal(said(from, WARNING), 0);
    await get(admin, { path: "/log?level=warn", method: "POST" });
    await reload(WARNING);
    assert.equal(await proxy.stop(), 0);
  });

  it("has metrics that promtool finds nothing against", async (t) => {
    if (promtoolSays("") === undefined) {
      t.skip("promtool is not on PATH (Debian: package prometheus)");
      return;
    }
    for (const workers of ["1", "2"]) {
      const { proxy, port, metrics } = await start("--workers", workers);
      for (let i = 0; i < 5; i++) await get(port, { path: `/${i}` });
      assert.equal(promtoolSays(await metrics()), "");
      assert.equal(await proxy.stop(), 0);
    }
  });

  it("has metrics of espalier up that promtool finds nothing against", async (t) => {
    if (promtoolSays("") === undefined) {
      t.skip("promtool is not on PATH (Debian: package prometheus)");
      return;
    }
    const path = join(dir, "up.yaml");
    const cluster = "apiVersion: espalier.dev/v1alpha1\nkind: Cluster\n";
    await writeFile(
      path,
      ["core.acme.mesh", "eu.acme.mesh"]
        .map(
          (name) =>
            `${cluster}metadata: { name: ${name} }\nspec: { mesh: acme.mesh, gateway: { listen: "127.0.0.1:0" } }\n`,
        )
        .join("---\n"),
    );
    const up = new EspalierProcess(["up", "-f", path, "--admin", "127.0.0.1:0"]);
    running.push(up);
    const { port } = await up.ready("admin");
    const text = (await get(port, { path: "/metrics" })).body;
    assert.equal(promtoolSays(text), "");
    assert.ok(metricOf(text, 'process_cpu_seconds_total{process="main"}')! > 0);
    assert.equal(await up.stop(), 0);
  });

  it("answers while one worker hangs, and counts on when one has died", async () => {
    const { proxy, port, ask, metrics } = await start("--workers", "2");
    for (let i = 0; i < 30; i++) await get(port);
    const series = 'espalier_requests_total{service="origin.default",code_class="2xx"}';
    assert.equal(metricOf(await metrics(), series), 30);
    const [first, second] = workersOf(proxy);
    process.kill(first!, "SIGSTOP");
    assert.equal(metricOf(await metrics(), series), 30, "as it counted last");
    assert.equal(JSON.parse((await ask("/clusters")).body).length, 1);
    assert.equal((await ask("/ready")).status, 200);
    process.kill(first!, "SIGCONT");
    process.kill(second!, "SIGKILL");
    await until("another one runs", async () =>
      (await metrics()).includes("espalier_worker_restarts_total 1\n"),
    );
    assert.ok(metricOf(await metrics(), series)! >= 30, "what the dead one had counted stays");
    await until("both run", async () => (await metrics()).includes("espalier_workers_running 2\n"));
    await proxy.stop();
  });

  it("shows no key that came with its configuration", async () => {
    const { certificate, key } = await serverCertificate("shop.example");
    const https = "port: 0, protocol: HTTPS, tls: { certificateRefs: [{ name: shop }] }";
    const path = join(dir, "https.yaml");
    const data = (pem: string): string => Buffer.from(pem).toString("base64");
    await writeFile(
      path,
      `${staticYaml(0, origin.port).replace("port: 0, protocol: HTTP", https)}---
apiVersion: v1
kind: Secret
type: kubernetes.io/tls
metadata: { name: shop }
data: { tls.crt: ${data(certificate)}, tls.key: ${data(key)} }
`,
    );
    const proxy = new EspalierProcess(["proxy", "-f", path, "--admin", "127.0.0.1:0"]);
    running.push(proxy);
    await proxy.ready(LISTENER);
    const config = (await get((await proxy.ready("admin")).port, { path: "/config" })).body;
    assert.ok(config.includes("(not shown)"));
    const secret = key.split("\n")[1]!;
    assert.ok(!config.includes("PRIVATE KEY") && !config.includes(secret), "no key");
    assert.equal(await proxy.stop(), 0);
  });
});
