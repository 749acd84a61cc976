import assert from "node:assert/strict";
import { type AddressInfo, createServer, type Server } from "node:net";
import { after, before, describe, it } from "node:test";
import { Metadata, status as Status } from "@grpc/grpc-js";
import { EchoClient, EchoServer } from "#test/kit/grpc_echo.ts";
import { get, TestOrigin } from "#test/kit/http.ts";
import {
  clusterYaml,
  type ProcessCluster,
  ProcessMesh,
  serviceYaml,
} from "#test/kit/mesh_processes.ts";
import { freePort } from "#test/kit/ports.ts";
import { type EspalierProcess, until } from "#test/kit/processes.ts";
import { RawClient } from "#test/kit/raw.ts";

const ECHO = "echo.shop.svc.acme.mesh";
/** A port of the core's gateway whose connections go to `db`. */
const STREAMS = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: streams, namespace: shop }
spec:
  gatewayClassName: espalier
  listeners: [{ name: db, port: 0, protocol: TCP }]
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: { name: db, namespace: shop }
spec:
  parentRefs: [{ name: streams }]
  rules: [{ backendRefs: [{ name: db, port: 80 }] }]
`;

describe("workloads behind sidecars, asked from another cluster", { timeout: 120_000 }, () => {
  let mesh: ProcessMesh;
  let far: ProcessCluster;
  let gateway: EspalierProcess;
  let inbound: number;
  let echoFlags: string[];
  let beside: EspalierProcess;
  let client: EchoClient;
  const echo = new EchoServer("echo@store-1");
  const page = new TestOrigin("page@store-1");
  /** Says what it has been sent, once the client has ended. */
  let db: Server;

  before(async () => {
    mesh = await ProcessMesh.create();
    db = createServer({ allowHalfOpen: true }, (socket) => {
      let said = "";
      socket.on("data", (chunk) => {
        said += chunk.toString();
      });
      socket.on("end", () => socket.end(`got ${said}`));
      socket.on("error", () => {});
    });
    await new Promise<void>((resolve) => db.listen(0, "127.0.0.1", resolve));
    await echo.start();
    const core = await mesh.core({
      "cluster.yaml": clusterYaml("core.acme.mesh"),
      "streams.yaml": STREAMS,
    });
    far = await mesh.child("store-1.acme.mesh", core, {
      // Fixed, so that its proxies find it where it was when it is started again.
      "cluster.yaml": clusterYaml("store-1.acme.mesh", {
        bus: await freePort(),
        api: await freePort(),
      }),
    });
    [gateway] = await Promise.all([core.startGateway(), far.startGateway()]);
    inbound = await freePort();
    echoFlags = [
      ...["--inbound", `127.0.0.1:${inbound}`, "--app", `127.0.0.1:${echo.port}`],
      ...["--service", "echo.shop", "--outbound", "127.0.0.1:0"],
    ];
    beside = await far.startSidecar("echo", ...echoFlags);
    const { port } = await gateway.ready("default/ingress/http");
    client = new EchoClient(`127.0.0.1:${port}`, undefined, { "grpc.default_authority": ECHO });
  });

  after(async () => {
    client?.close();
    await mesh?.stop();
    echo.stop();
    if (page.server.listening) await page.stop();
    db.close();
  });

  const echoes = async (): Promise<boolean> => {
    const { status, replies } = await client.call("Chat", [{ count: 2, body: Buffer.from("a") }]);
    return status.code === Status.OK && replies.length === 2;
  };

  it("are called by gRPC, although their sidecar began before anybody had said so", async () => {
    await far.configure("echo.yaml", serviceYaml("echo", inbound, "/ns/shop/sa/echo", "grpc"));
    await until("it is called", echoes);
    const metadata = new Metadata();
    metadata.set("x-last", "there");
    const asked = { code: Status.ABORTED, words: "no" };
    const { status } = await client.call("Unary", [asked], {
      metadata,
      deadline: Date.now() + 9e3,
    });
    assert.deepEqual([status.code, status.details], [Status.ABORTED, "no"]);
    assert.deepEqual(status.metadata.get("x-last"), ["there"]);
    assert.ok(echo.last.leftMs <= 9_000);
  });

  it("take connections, and know whose they are", async () => {
    const { port } = db.address() as AddressInfo;
    const sidecar = await far.startSidecar(
      "db",
      ...["--inbound", "127.0.0.1:0", "--app", `127.0.0.1:${port}`],
      ...["--service", "db.shop", "--outbound", "127.0.0.1:0"],
    );
    const behind = (await sidecar.ready("inbound")).port;
    const yaml = serviceYaml("db", behind, "/ns/shop/sa/db", "tcp");
    await far.configure("db.yaml", yaml.replace("spec:\n", "spec:\n  proxyProtocol: v1\n"));
    const at = (await gateway.ready("shop/streams/db")).port;
    let said = "";
    await until("it answers", async () => {
      const client = new RawClient(at, "hello");
      client.socket.end();
      said = await client.rest();
      return said !== "";
    });
    assert.match(said, /^got PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 \d+ \d+\r\nhello$/);
  });

  it("are spoken to as at the last time when their sidecar starts without a control service", async () => {
    await far.control.stop("SIGKILL");
    await beside.stop();
    beside = await far.startSidecar("echo", ...echoFlags);
    await until("it is called", echoes);
    await far.startControl();
  });

  it("are spoken to in another protocol once their service says so", async () => {
    const { port } = await gateway.ready("default/ingress/http");
    // What serves it has been replaced in its place.
    const at = echo.port;
    echo.stop();
    await page.start(at);
    await far.configure("echo.yaml", serviceYaml("echo", inbound, "/ns/shop/sa/echo"));
    await until("the page is there", async () => {
      const { status, body } = await get(port, { host: ECHO });
      return status === 200 && body === "page@store-1";
    });
  });
});
