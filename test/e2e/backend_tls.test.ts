import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { type Forged, forge } from "#test/kit/forge.ts";
import { gatewayYaml } from "#test/kit/gateway.ts";
import { get } from "#test/kit/http.ts";
import { EspalierProcess, until } from "#test/kit/processes.ts";
import { TlsOrigin } from "#test/kit/tls_origin.ts";

const localhost = [{ type: "dns" as const, value: "localhost" }];

describe("espalier proxy, to endpoints that speak TLS", { timeout: 120_000 }, () => {
  let dir: string;
  let known: Forged;
  let other: Forged;
  const closers: Array<() => unknown> = [];

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "espalier-tls-"));
    known = await forge({ ca: true });
    other = await forge({ ca: true });
    await writeFile(join(dir, "roots.pem"), known.pem);
  });
  after(async () => {
    for (const close of closers.reverse()) await close();
    await rm(dir, { recursive: true });
  });

  async function origin(by: Forged): Promise<TlsOrigin> {
    const started = await TlsOrigin.start(await forge({ by, names: localhost }), "both");
    closers.push(() => started.stop());
    return started;
  }

  /** Everything goes to this port of `localhost`, over TLS. */
  const yamlTo = (port: number): string =>
    gatewayYaml(["{ backendRefs: [{ name: origin, port: 80 }] }"], { origin: [port] })
      .replace("ports: [{ port: 80 }]", "ports: [{ port: 80, appProtocol: https }]")
      .replace("address: 127.0.0.1", "address: localhost");

  const withPolicy = (yaml: string, ca: Forged): string => `${yaml}---
apiVersion: v1
kind: ConfigMap
metadata: { name: roots }
data: { ca.crt: ${JSON.stringify(ca.pem)} }
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: { name: origin }
spec:
  targetRefs: [{ group: espalier.dev, kind: Service, name: origin }]
  validation: { hostname: localhost, caCertificateRefs: [{ kind: ConfigMap, name: roots }] }
`;

  it("trusts whom the machine trusts, or whom its file says, from the reload on", async () => {
    const [trusted, strange] = [await origin(known), await origin(other)];
    const file = join(dir, "edge.yaml");
    await writeFile(file, yamlTo(trusted.port));
    const proxy = new EspalierProcess(["proxy", "-f", file, "--workers", "2"], {
      ...{ SSL_CERT_FILE: join(dir, "roots.pem"), SSL_CERT_DIR: "", NODE_EXTRA_CA_CERTS: "" },
    });
    closers.push(() => proxy.child.kill("SIGKILL"));
    const { port } = await proxy.ready("default/edge/http");
    const status = async (): Promise<number> => (await get(port, { method: "POST" })).status;
    assert.equal(await status(), 200);
    assert.deepEqual([trusted.seen[0]!.version, trusted.seen[0]!.servername], ["2.0", "localhost"]);

    await writeFile(file, yamlTo(strange.port));
    await until("the other is not trusted", async () => (await status()) === 503);
    assert.deepEqual(strange.seen, []);

    await writeFile(file, withPolicy(yamlTo(strange.port), other));
    await until("its CA is known", async () => (await status()) === 200);
    await writeFile(file, withPolicy(yamlTo(strange.port), known));
    await until("its CA is another", async () => (await status()) === 503);

    await writeFile(file, yamlTo(trusted.port).replace("address: localhost", "address: 127.0.0.1"));
    await until("the bad file is refused", () => proxy.err.includes("no name to verify"));
  });
});
