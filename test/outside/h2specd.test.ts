import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import type { ServiceName } from "#model/names.ts";
import type { RouteRule, Service, Snapshot } from "#model/snapshot.ts";
import { freePort } from "#test/kit/ports.ts";
import { ROOT } from "#test/kit/processes.ts";
import { simpleSnapshot, startPlane } from "#test/kit/proxy.ts";
import { run } from "#test/kit/run.ts";

const H2SPECD = join(ROOT, ".tools/bin/h2specd");
const missing = existsSync(H2SPECD)
  ? false
  : "h2specd is not installed: tools/outside-suites.sh installs it where there is Go";

/** As many ports in a row are servers of one case each. */
const CASES = 57;

/** It wants a connection's end here; RFC 9113 §6.1 and another case of its own want the stream's, as we do it. */
const EXCEPT = ["8: closed: Sends a DATA frame"];

/** Asks the proxy for what is behind the port of a URL, and takes whatever comes. */
const ASK = `import { get } from "node:http";
const [, , proxy, url] = process.argv;
const path = "/" + new URL(url).port + "/";
const asked = get({ host: "127.0.0.1", port: Number(proxy), path, timeout: 2_500 }, (answer) => {
  answer.on("error", () => {});
  answer.resume();
});
asked.on("error", () => {});
asked.on("timeout", () => asked.destroy());
`;

/** Every case of h2specd (https://github.com/summerwind/h2spec, for clients), which plays an endpoint of ours. */
describe("h2specd", { skip: missing, timeout: 240_000 }, () => {
  it("finds nothing else", async () => {
    const dir = mkdtempSync(join(tmpdir(), "espalier-h2specd-"));
    writeFileSync(join(dir, "ask.mjs"), ASK);
    const from = await freeRow(CASES);
    const ports = Array.from({ length: CASES }, (_, i) => from + i);
    const { plane, port } = await startPlane(endpointsAt(ports));
    try {
      const exec = `${process.execPath} ${dir}/ask.mjs ${port}`;
      const { out } = await run(H2SPECD, ["-S", "-f", String(from), "-e", exec]);
      const said = Buffer.from(out, "latin1").toString();
      assert.match(said, new RegExp(`${CASES} tests, \\d+ passed, 0 skipped`));
      // The list at the end names each again.
      const failed = [...said.matchAll(/× (\d+: .*?)\s*$/gm)].map((match) => match[1]!);
      assert.deepEqual([...new Set(failed)], EXCEPT, said.slice(-3_000));
    } finally {
      await plane.drain(0);
      rmSync(dir, { recursive: true, force: true });
    }
  });
});

/** Each port is an endpoint of its own that speaks HTTP/2, behind a path that names it. */
function endpointsAt(ports: readonly number[]): Snapshot {
  const simple = simpleSnapshot([1]);
  const [route] = simple.routes;
  const [service] = simple.services;
  const [locale] = service!.locales;
  const [rule] = route!.rules;
  const name = (port: number) => `s${port}.shop` as ServiceName;
  const rules = ports.map((port): RouteRule => {
    const path = { type: "PathPrefix" as const, value: `/${port}` };
    return {
      ...rule!,
      matches: [{ path, headers: [], queries: [], grpc: false }],
      backends: [{ service: name(port), weight: 1 }],
    };
  });
  const services = ports.map((port): Service => {
    const endpoints = [{ address: "127.0.0.1", port, weight: 1 }];
    const locales = [{ ...locale!, endpoints }];
    return { ...service!, name: name(port), appProtocol: "kubernetes.io/h2c", locales };
  });
  return { ...simple, routes: [{ ...route!, rules }], services };
}

/** The first of so many free ports. */
async function freeRow(count: number): Promise<number> {
  for (;;) {
    const from = await freePort();
    const servers: Server[] = [];
    for (let port = from; port < from + count && port < 65_536; port++) {
      const server = createServer();
      const isFree = await new Promise<boolean>((resolve) => {
        server.on("error", () => resolve(false));
        server.listen(port, "127.0.0.1", () => resolve(true));
      });
      if (!isFree) break;
      servers.push(server);
    }
    for (const server of servers) await new Promise((resolve) => server.close(resolve));
    if (servers.length === count) return from;
  }
}
