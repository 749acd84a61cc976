import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { HeldOrigin } from "#test/kit/held_origin.ts";
import { get } from "#test/kit/http.ts";
import { EspalierProcess, until } from "#test/kit/processes.ts";
import { staticYaml } from "#test/kit/static_yaml.ts";

const ASK = "GET /held HTTP/1.1\r\nHost: any\r\n\r\n";
const CLIENTS = 100;

describe("a proxy without file descriptors", { timeout: 60_000 }, () => {
  let dir: string;
  let proxy: EspalierProcess;
  let port: number;
  let admin: number;
  const origin = new HeldOrigin();
  const clients: Array<{ socket: Socket; said: string; closed: boolean }> = [];

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "espalier-files-"));
    const file = join(dir, "edge.yaml");
    await origin.start();
    await writeFile(file, staticYaml(0, origin.port));
    const args = ["proxy", "-f", file, "--admin", "127.0.0.1:0"];
    proxy = new EspalierProcess(args, { XDG_RUNTIME_DIR: dir }, 96);
    port = (await proxy.ready("default/edge/http")).port;
    admin = (await proxy.ready("admin")).port;
  });
  after(async () => {
    for (const { socket } of clients) socket.destroy();
    proxy.child.kill("SIGKILL");
    await origin.stop();
    await rm(dir, { recursive: true });
  });

  async function metric(name: string): Promise<number> {
    const { body } = await get(admin, { path: "/metrics" });
    return Number(
      body
        .split("\n")
        .find((line) => line.startsWith(name))
        ?.split(" ")
        .at(-1) ?? 0,
    );
  }

  const refused = () =>
    metric('espalier_connections_refused_total{listener="default/edge/http",reason="files"}');

  it("turns clients away and counts them", async () => {
    for (let i = 0; i < CLIENTS; i++) {
      const client = { socket: connect(port, "127.0.0.1"), said: "", closed: false };
      client.socket.on("data", (chunk) => {
        client.said += chunk.toString("latin1");
      });
      client.socket.on("error", () => {});
      client.socket.on("close", () => {
        client.closed = true;
      });
      clients.push(client);
    }
    await until("some are let in, and the others are counted", async () => {
      const closed = clients.filter((client) => client.closed).length;
      return closed > 0 && closed === (await refused());
    });
    assert.ok(clients.filter((client) => !client.closed).length > 16);
  });

  it("answers 503 where no endpoint can be reached, and what runs goes on", async () => {
    const open = clients.filter((client) => !client.closed);
    for (const { socket } of open) socket.write(ASK);
    await until("some are refused and the others run", () => {
      const answered = open.filter(({ said }) => said.includes("\r\n\r\n")).length;
      return answered > 0 && origin.held.length > 0 && answered + origin.held.length >= open.length;
    });
    const answers = open.filter(({ said }) => said !== "");
    for (const { said } of answers) assert.match(said, /^HTTP\/1\.1 503 /);
  });

  it("serves again when there are some, and holds nothing against the endpoint", async () => {
    for (const { socket } of clients) socket.destroy();
    // While every descriptor was taken the admin port had none either.
    await until("the admin port answers", () =>
      get(admin, { path: "/live" }).then(
        () => true,
        () => false,
      ),
    );
    // Before a success, which would wipe out what was held against it.
    const all = JSON.parse((await get(admin, { path: "/clusters" })).body);
    const [endpoint] = all[0].services[0].endpoints;
    assert.deepEqual([endpoint.ejectedForMs, endpoint.failuresInRow], [0, 0]);
    origin.release();
    await until("it does", () =>
      get(port).then(
        ({ body }) => body === "at once",
        () => false,
      ),
    );
    const failures = 'espalier_failures_total{service="origin.default",kind=';
    assert.ok((await metric(`${failures}"overloaded"`)) > 0);
    assert.equal(await metric(`${failures}"connect_refused"`), 0);
    // An accept that fails again and again would have been counted each time.
    assert.ok((await refused()) <= 2 * CLIENTS);
    assert.equal(proxy.child.exitCode, null);
    assert.equal(await proxy.stop(), 0);
  });
});
