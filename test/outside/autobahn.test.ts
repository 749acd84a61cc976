import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { WebSocketServer } from "ws";
import { EspalierProcess, ROOT } from "#test/kit/processes.ts";
import { run } from "#test/kit/run.ts";
import { staticYaml } from "#test/kit/static_yaml.ts";

const WSTEST = join(ROOT, ".tools", "autobahn", "wstest");
const missing = existsSync(WSTEST)
  ? false
  : "Autobahn's wstest is not installed: tools/outside-suites.sh (needs a Python 2.7)";

/** All of them take many minutes: `AUTOBAHN=all`. Left out here: messages of megabytes, and most compressions. */
const QUICK = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.1.1", "9.3.1", "12.1.1"];
const CASES = process.env.AUTOBAHN === "all" ? ["*"] : QUICK;

interface Verdict {
  readonly behavior: string;
  readonly behaviorClose: string;
}

describe("Autobahn", { skip: missing, timeout: 3_600_000 }, () => {
  const dir = mkdtempSync(join(tmpdir(), "espalier-autobahn-"));
  const http = createServer();
  // A message of 16 MB in fragments of 64 bytes is one of the cases.
  const server = new WebSocketServer({
    server: http,
    perMessageDeflate: true,
    maxPayload: 64 << 20,
    maxFragments: 0,
    maxBufferedChunks: 0,
  });
  let proxy: EspalierProcess;
  let port = 0;

  before(async () => {
    server.on("connection", (socket) => {
      socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
      socket.on("error", () => {});
    });
    await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
    const file = join(dir, "edge.yaml");
    writeFileSync(file, staticYaml(0, (http.address() as AddressInfo).port));
    proxy = new EspalierProcess(["proxy", "-f", file, "--admin", "127.0.0.1:0"]);
    port = (await proxy.ready("default/edge/http")).port;
  });
  after(async () => {
    await proxy.stop();
    for (const client of server.clients) client.terminate();
    http.close();
    rmSync(dir, { recursive: true });
  });

  it("judges what comes through the proxy as it judges the server itself", async () => {
    const spec = join(dir, "spec.json");
    const direct = (http.address() as AddressInfo).port;
    const servers = [
      { agent: "direct", url: `ws://127.0.0.1:${direct}` },
      { agent: "through", url: `ws://127.0.0.1:${port}` },
    ];
    const options = { outdir: dir, cases: CASES, "exclude-cases": [], "exclude-agent-cases": {} };
    writeFileSync(spec, JSON.stringify({ ...options, servers }));
    const { out } = await run(WSTEST, ["-m", "fuzzingclient", "-s", spec]);
    const report = join(dir, "index.json");
    assert.ok(existsSync(report), out.slice(-4_000));
    const verdicts = JSON.parse(readFileSync(report, "utf8")) as Record<
      "direct" | "through",
      Record<string, Verdict>
    >;
    const names = Object.keys(verdicts.direct);
    assert.ok(names.length > 100, `${names.length} cases`);
    const worse = names.filter((name) => {
      const [a, b] = [verdicts.direct[name]!, verdicts.through[name]!];
      return a.behavior !== b.behavior || a.behaviorClose !== b.behaviorClose;
    });
    const told = worse.map(
      (name) => `${name}: ${JSON.stringify([verdicts.direct[name], verdicts.through[name]])}`,
    );
    assert.deepEqual(told, []);
    console.log(`# Autobahn: ${names.length} cases, the same verdicts`);
  });
});
