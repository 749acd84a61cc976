import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { freePort } from "#test/kit/ports.ts";
import { EspalierProcess, ROOT } from "#test/kit/processes.ts";
import { run } from "#test/kit/run.ts";
import { staticYaml } from "#test/kit/static_yaml.ts";

const SCRIPTS = join(ROOT, "test", "outside", "vtc");
const missing =
  spawnSync("varnishtest", ["-h"]).error === undefined
    ? false
    : "varnishtest is not installed: Debian package varnish, or tools/outside-suites.sh";

/** The route by which the scripts open tunnels. */
const WITH_TUNNEL = `
    - matches: [{ method: CONNECT, headers: [{ name: host, value: "tunnel.example:443" }] }]
      backendRefs: [{ name: origin, port: 80 }]`;

describe("varnishtest", { skip: missing, timeout: 120_000 }, () => {
  const dir = mkdtempSync(join(tmpdir(), "espalier-vtc-"));
  let proxy: EspalierProcess;
  let origin = 0;
  let port = 0;

  before(async () => {
    origin = await freePort();
    const file = join(dir, "edge.yaml");
    const rule = "[{ backendRefs: [{ name: origin, port: 80 }] }]";
    const rules = `\n    - backendRefs: [{ name: origin, port: 80 }]${WITH_TUNNEL}`;
    writeFileSync(file, staticYaml(0, origin).replace(rule, rules));
    proxy = new EspalierProcess(["proxy", "-f", file, "--admin", "127.0.0.1:0"]);
    port = (await proxy.ready("default/edge/http")).port;
  });
  after(async () => {
    await proxy.stop();
    rmSync(dir, { recursive: true });
  });

  for (const script of readdirSync(SCRIPTS)) {
    it(script, async () => {
      const { code, out } = await run("varnishtest", [
        ...["-t", "30"],
        `-Dproxy=127.0.0.1:${port}`,
        `-Dorigin=127.0.0.1:${origin}`,
        join(SCRIPTS, script),
      ]);
      assert.equal(code, 0, out.slice(-4_000));
    });
  }
});
