import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { serverCertificate } from "#test/kit/certificates.ts";
import { freePort } from "#test/kit/ports.ts";
import { EspalierProcess, ROOT, until } from "#test/kit/processes.ts";
import { run } from "#test/kit/run.ts";
import { staticYaml } from "#test/kit/static_yaml.ts";

const CLIENT = join(ROOT, ".tools/grpc-go/client");
const SERVER = join(ROOT, ".tools/grpc-go/server");
const missing =
  existsSync(CLIENT) && existsSync(SERVER)
    ? false
    : "grpc-go's ends are not installed: tools/outside-suites.sh installs them where there is Go";

/**
 * gRPC's own cases (grpc/grpc, doc/interop-test-descriptions.md) that grpc-go's client knows and that ask for no cloud.
 * Its server has no name to tell, which `pick_first_unary` wants, and the ORCA cases want a balancer in the client.
 */
const CASES = [
  "empty_unary",
  "large_unary",
  "client_streaming",
  "server_streaming",
  "ping_pong",
  "empty_stream",
  "custom_metadata",
  "status_code_and_message",
  "special_status_message",
  "unimplemented_method",
  "unimplemented_service",
  "cancel_after_begin",
  "cancel_after_first_response",
  "timeout_on_sleeping_server",
  "rpc_soak",
  "channel_soak",
] as const;
const SHORT = ["-soak_iterations=20", "-soak_per_iteration_max_acceptable_latency_ms=10000"];

/** Each case has the same verdict through us as directly: it passes. */
describe("grpc-go's interoperability cases", { skip: missing, timeout: 300_000 }, () => {
  const dir = mkdtempSync(join(tmpdir(), "espalier-grpc-"));
  let server: ChildProcess;
  let serverPort = 0;
  let proxy: EspalierProcess;

  before(async () => {
    serverPort = await freePort();
    server = spawn(SERVER, [`-port=${serverPort}`], { stdio: "ignore" });
    const pem = await serverCertificate("localhost");
    writeFileSync(join(dir, "tls.crt"), pem.certificate);
    writeFileSync(join(dir, "tls.key"), pem.key);
    const listeners = `listeners:
    - { name: http, port: 0, protocol: HTTP }
    - { name: https, port: 0, protocol: HTTPS, tls: { certificateRefs: [{ kind: Certificate, name: own }] } }`;
    const certificate = `---
apiVersion: espalier.dev/v1alpha1
kind: Certificate
metadata: { name: own }
spec: { certificateFile: ${dir}/tls.crt, keyFile: ${dir}/tls.key }
`;
    const yaml = staticYaml(0, serverPort)
      .replace(/listeners: .*/, listeners)
      .replace("appProtocol: http ", "appProtocol: grpc ");
    const file = join(dir, "edge.yaml");
    writeFileSync(file, yaml + certificate);
    proxy = new EspalierProcess(["proxy", "-f", file, "--admin", "127.0.0.1:0"]);
    await until("the server listens", () => takesConnections(serverPort));
  });

  after(async () => {
    await proxy?.stop();
    server.kill();
    rmSync(dir, { recursive: true, force: true });
  });

  async function passes(port: number, flags: readonly string[]): Promise<void> {
    const verdicts = await Promise.all(
      CASES.map(async (name) => {
        const place = [`-server_host=localhost`, `-server_port=${port}`, `-test_case=${name}`];
        const { code, out } = await run(CLIENT, [...place, ...SHORT, ...flags]);
        return code === 0 ? "" : `${name}: ${out}`;
      }),
    );
    assert.deepEqual(
      verdicts.filter((verdict) => verdict !== ""),
      [],
    );
  }

  it("pass directly", () => passes(serverPort, []));

  it("pass through us in the clear", async () => {
    await passes((await proxy.ready("default/edge/http")).port, []);
  });

  it("pass through us over TLS", async () => {
    const { port } = await proxy.ready("default/edge/https");
    await passes(port, ["-use_tls", "-use_test_ca", `-ca_file=${dir}/tls.crt`]);
  });
});

function takesConnections(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("connect", () => resolve(true));
    socket.on("error", () => resolve(false));
    socket.on("connect", () => socket.destroy());
  });
}
