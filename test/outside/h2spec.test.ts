import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { serverCertificate } from "#test/kit/certificates.ts";
import { EspalierProcess, ROOT } from "#test/kit/processes.ts";
import { run } from "#test/kit/run.ts";
import { staticYaml } from "#test/kit/static_yaml.ts";

const H2SPEC = join(ROOT, ".tools/bin/h2spec");
const missing = existsSync(H2SPEC)
  ? false
  : "h2spec is not installed: tools/outside-suites.sh installs it where there is Go";

/** Every case of h2spec (https://github.com/summerwind/h2spec) against a proxy in front of an HTTP/1.1 origin. */
describe("h2spec", { skip: missing, timeout: 120_000 }, () => {
  const dir = mkdtempSync(join(tmpdir(), "espalier-h2spec-"));
  const origin = createServer((asked, answer) => {
    asked.resume();
    asked.on("end", () => answer.end("hello world ".repeat(100)));
  });
  let proxy: EspalierProcess;

  before(async () => {
    await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", resolve));
    const pem = await serverCertificate("localhost");
    writeFileSync(join(dir, "tls.crt"), pem.certificate);
    writeFileSync(join(dir, "tls.key"), pem.key);
    const listeners = `listeners:
    - { name: http, port: 0, protocol: HTTP }
    - { name: https, port: 0, protocol: HTTPS, tls: { certificateRefs: [{ kind: Certificate, name: own }] } }`;
    const yaml = staticYaml(0, (origin.address() as AddressInfo).port);
    const certificate = `---
apiVersion: espalier.dev/v1alpha1
kind: Certificate
metadata: { name: own }
spec: { certificateFile: ${dir}/tls.crt, keyFile: ${dir}/tls.key }
`;
    const file = join(dir, "edge.yaml");
    writeFileSync(file, yaml.replace(/listeners: .*/, listeners) + certificate);
    proxy = new EspalierProcess(["proxy", "-f", file, "--admin", "127.0.0.1:0"]);
  });

  after(async () => {
    await proxy?.stop();
    origin.close();
    rmSync(dir, { recursive: true, force: true });
  });

  async function spec(listener: string, flags: readonly string[]): Promise<string[]> {
    const { port } = await proxy.ready(`default/edge/${listener}`);
    const place = ["-h", "127.0.0.1", "-p", String(port), "--timeout", "5"];
    const { out } = await run(H2SPEC, [...place, ...flags]);
    const summary = /(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed/.exec(out);
    assert.ok(summary !== null, out);
    assert.ok(Number(summary[1]) >= 145, summary[0]);
    // The list at the end names each again.
    const failed = [...out.matchAll(/× (\d+: .*?)$/gm)].map((match) => match[1]!.trim());
    return [...new Set(failed)];
  }

  it("finds nothing over TLS, strict cases among them", async () => {
    assert.deepEqual(await spec("https", ["-t", "-k", "-S"]), []);
  });

  it("finds, in the clear, only that who does not begin with the preface is answered in HTTP/1.1", async () => {
    // It may hear of the end before it sees in what words.
    const failed = await spec("http", ["-S"]);
    assert.ok(
      failed.every((name) => name === "2: Sends invalid connection preface"),
      `${failed}`,
    );
  });
});
