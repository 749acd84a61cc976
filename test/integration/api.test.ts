import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { makeClientConstructor, status } from "@grpc/grpc-js";
import { mintToken, readToken } from "#certs/attest/join_token.ts";
import { newRequest } from "#certs/authority/keys.ts";
import { type Identity, RotatingIdentity } from "#certs/identity/identity.ts";
import { controlId, gatewayId, type SpiffeId, workloadId } from "#certs/identity/spiffe_id.ts";
import { meshChannel } from "#certs/workload/grpc_channel.ts";
import { identityOf } from "#certs/workload/identity_of.ts";
import { askJoin, askRenewal } from "#certs/workload/issuing_client.ts";
import { PeerVerifier } from "#certs/workload/peer_verifier.ts";
import { ApiServer } from "#control/api/api_server.ts";
import { SnapshotHub } from "#control/api/snapshot_hub.ts";
import { WIRE } from "#discovery/wire/definition.ts";
import { systemClock } from "#kernel/clock.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { systemRng } from "#kernel/rng.ts";
import type { ClusterName, MeshName, ServiceName } from "#model/names.ts";
import type { Snapshot } from "#model/snapshot.ts";
import { ControlSource } from "#proxy/subscribe/control_source.ts";
import { EVERY_CALL_FIELD, EVERY_RULE_FIELD, snapshotOf } from "#test/kit/gateway.ts";
import { cluster, MESH, must, TestTree } from "#test/kit/mesh.ts";
import { until } from "#test/kit/processes.ts";
import { simpleSnapshot } from "#test/kit/proxy.ts";
import { MemoryTokenStore } from "#test/kit/tokens.ts";
import { EVERY_POLICY_MEANT } from "#test/kit/traffic_policy.ts";

const CORE = cluster("core");
const CONNECTIONS = {
  max: 1,
  pending: 0,
  pendingTimeoutMs: 2,
  connectTimeoutMs: 3,
  idleTimeoutMs: 4,
  // The longest that can be written.
  lifetimeMs: 359_996_400_000,
  requests: 4_000_000_000,
};
const CHECK_POLICY = {
  ...{ intervalMs: 3_600_000, timeoutMs: 100, unhealthyThreshold: 100, healthyThreshold: 1 },
};
const HEALTH_CHECKS = [
  { ...CHECK_POLICY, grpc: { service: "" } },
  { ...CHECK_POLICY, tcp: {} },
  { ...CHECK_POLICY, http: { path: "/", statuses: [{ from: 200, to: 599 }], host: "a" } },
];
const TLS = [
  undefined,
  { ca: "system", subjectAltNames: [], alpn: ["h2" as const, "http/1.1" as const] },
  {
    ...{ serverName: "a.example", ca: "-----BEGIN CERTIFICATE-----", alpn: ["h2" as const] },
    subjectAltNames: [
      { type: "Hostname" as const, value: "b.example" },
      { type: "URI" as const, value: "spiffe://a.b/c" },
    ],
  },
];
const ANY_PORT = { address: "127.0.0.1", port: 0 };

describe("the control API", { timeout: 60_000 }, () => {
  const tree = new TestTree();
  const hub = new SnapshotHub(() => {});
  const tokens = new MemoryTokenStore();
  const registered = new Map([["eu", { tiers: 1 }]]);
  const log = new MemoryLogger();
  let api: ApiServer;
  let identity: RotatingIdentity;
  let server: string;
  const sources: ControlSource[] = [];

  before(async () => {
    const authority = await tree.authority(CORE);
    identity = new RotatingIdentity(await tree.identity(controlId(CORE), CORE));
    api = must(
      await ApiServer.open({
        listen: ANY_PORT,
        enrol: ANY_PORT,
        identity,
        hub,
        clock: systemClock,
        log,
        context: {
          mesh: MESH,
          cluster: CORE,
          authority,
          tokens,
          clock: systemClock,
          child: (label) => registered.get(label),
          registerChild: async (label, tiers) => void registered.set(label, { tiers }),
          places: () => ({ api: "0.0.0.0:1", bus: "0.0.0.0:2" }),
        },
      }),
    );
    server = `127.0.0.1:${api.api.port}`;
  });
  after(async () => {
    await Promise.all(sources.map((source) => source.close()));
    api.close();
  });

  /** A proxy's source as `id`, and what has come of it. */
  async function follow(id: SpiffeId, of: ClusterName) {
    const said = new MemoryLogger();
    const source = new ControlSource({
      control: server,
      identity: new RotatingIdentity(await tree.identity(id, of)),
      version: "test",
      clock: systemClock,
      rng: systemRng(),
      log: said,
    });
    sources.push(source);
    const got: Snapshot[] = [];
    const refused: string[] = [];
    source.start({
      apply: (snapshot) => void got.push(snapshot),
      refused: (problems) => void refused.push(...problems),
    });
    return { source, got, refused, said };
  }

  /** Calls one method as `caller`; the status that comes back. */
  async function call(
    caller: Identity,
    service: "Snapshots" | "Identity",
    method: string,
  ): Promise<status> {
    const verifier = new PeerVerifier(caller.rootsPem, systemClock);
    const { credentials, options } = meshChannel(caller, verifier, controlId(CORE));
    const Client = makeClientConstructor(WIRE[service].service, service);
    const client = new Client(server, credentials, options);
    const { csrPem } = await newRequest();
    const code = await new Promise<status>((resolve) => {
      if (service === "Snapshots") {
        const stream = (client[method] as unknown as () => NodeJS.EventEmitter).call(client);
        stream.on("data", () => resolve(status.OK));
        stream.on("error", (error: { code: status }) => resolve(error.code));
        return;
      }
      const answered = (error: { code: status } | null): void => resolve(error?.code ?? status.OK);
      const deadline = new Date(Date.now() + 5_000);
      (client[method] as (...args: unknown[]) => void).call(
        client,
        { csr: csrPem },
        { deadline },
        answered,
      );
    });
    client.close();
    return code;
  }

  it("sends each proxy what is made for it, the same to the last field", async () => {
    const simple = simpleSnapshot([9_000, 9_001], { revision: "one", requestTimeoutMs: 500 });
    const routes = [EVERY_RULE_FIELD, EVERY_CALL_FIELD].flatMap((yaml) => snapshotOf(yaml).routes);
    const services = simple.services.flatMap((service) =>
      HEALTH_CHECKS.map((healthCheck, i) => ({
        ...service,
        name: `origin-${i}.shop` as ServiceName,
        ...{ connections: CONNECTIONS, healthCheck, policy: EVERY_POLICY_MEANT },
        replication: { primary: CORE, epoch: 4_000_000_000, replicas: [CORE], maxStalenessMs: 0.5 },
        policyOrigins: [
          { cluster: CORE, policy: "default/p", fields: ["limits.retries"], refused: ["why"] },
        ],
        locales: service.locales.map((locale) => ({
          ...locale,
          ...{ grant: 0, drained: true, stalenessMs: 1.5 },
          endpoints: locale.endpoints.map((endpoint) => ({ ...endpoint, zone: "z" })),
        })),
        ...(TLS[i] === undefined ? {} : { tls: TLS[i] }),
      })),
    );
    const sent = { ...simple, routes: [...simple.routes, ...routes], services };
    hub.publish("gateway", sent);
    const { got } = await follow(gatewayId(CORE), CORE);
    await until("it has come", () => got.length === 1);
    assert.deepEqual(got[0], sent);
    await until("its acceptance is known", () =>
      hub.statuses().some(({ id, acked }) => id === gatewayId(CORE) && acked === "one"),
    );
  });

  it("hears a refusal and its reason, and sends only what is new", async () => {
    const bad = { ...simpleSnapshot([1], { revision: "bad" }), mesh: "no mesh" as MeshName };
    hub.publish("workload", bad);
    const id = workloadId(CORE, "shop", "picky");
    const { got, refused, said } = await follow(id, CORE);
    const statusOf = () => hub.statuses().find((s) => s.id === id);
    await until("the refusal is known", () => statusOf()?.refused === "bad");
    assert.match(refused[0]!, /^control service: mesh: /);
    assert.deepEqual(statusOf()!.problems, refused);
    assert.deepEqual(
      said.lines.filter(({ level }) => level === "error").map(({ message }) => message),
      ["snapshot refused; the old one stays in force", ...refused],
    );
    hub.publish("workload", simpleSnapshot([1], { revision: "good" }));
    await until(
      "the next is accepted",
      () => got[0]?.revision === "good" && statusOf()?.refused === "",
    );
  });

  it("hears reports, with where the mesh reaches a gateway", async () => {
    const { source } = await follow(gatewayId(CORE), CORE);
    await until("it is connected", () => source.status() === "connected");
    source.report([{ service: "menu.shop", healthy: 2, inflight: 1, p50Ms: 3.5 }], {
      address: "10.0.0.1",
      port: 15_443,
    });
    await until("they have come", () => hub.gatewayReports().length > 0);
    // A median goes up in steps of a quarter.
    assert.deepEqual(hub.gatewayReports()[0], [
      { service: "menu.shop", healthy: 2, inflight: 1, p50Ms: 3.81 },
    ]);
    assert.deepEqual(hub.gatewayAddresses(), [{ address: "10.0.0.1", port: 15_443 }]);
  });

  it("lets each role call what the table says, and nobody else in", async () => {
    const as = (id: SpiffeId, of: ClusterName) => tree.identity(id, of);
    const child = await as(controlId(cluster("eu")), cluster("eu"));
    const gateway = await as(gatewayId(CORE), CORE);
    assert.equal(await call(gateway, "Identity", "RenewLeaf"), status.OK);
    assert.equal(await call(gateway, "Identity", "RenewAuthority"), status.PERMISSION_DENIED);
    assert.equal(await call(child, "Identity", "RenewAuthority"), status.OK);
    assert.equal(await call(child, "Identity", "RenewLeaf"), status.PERMISSION_DENIED);
    assert.equal(await call(child, "Snapshots", "Stream"), status.PERMISSION_DENIED);
    const before = api.refused;
    const strangers = [
      await as(gatewayId(cluster("eu")), cluster("eu")),
      await as(controlId(cluster("us")), cluster("us")),
      await as(workloadId(cluster("eu"), "a", "b"), cluster("eu")),
      await as(controlId(cluster("store-1.eu")), cluster("store-1.eu")),
      await as(controlId(CORE), CORE),
    ];
    for (const stranger of strangers) {
      assert.equal(await call(stranger, "Identity", "RenewLeaf"), status.UNAVAILABLE, stranger.id);
    }
    assert.ok(api.refused >= before + strangers.length);
  });

  it("renews a leaf for the caller's own id and a CA for the caller's own cluster", async () => {
    const gateway = await tree.identity(gatewayId(CORE), CORE);
    const place = { server, expected: controlId(CORE), clock: systemClock };
    const leaf = must(await askRenewal({ ...place, as: gateway }, "RenewLeaf"));
    const renewed = must(identityOf(leaf.issued, leaf.keyPem, Date.now()));
    assert.equal(renewed.id, gateway.id);
    const child = await tree.identity(controlId(cluster("eu")), cluster("eu"));
    const ca = must(await askRenewal({ ...place, as: child }, "RenewAuthority"));
    assert.equal(ca.issued.subject, "eu.acme.mesh");
  });

  it("is not talked to by who expects another", async () => {
    const gateway = await tree.identity(gatewayId(CORE), CORE);
    const place = { server, expected: controlId(cluster("eu")), clock: systemClock, as: gateway };
    const asked = await askRenewal(place, "RenewLeaf");
    assert.ok(!asked.ok);
  });

  it("lets the bearer of a token become what the token says, once", async () => {
    const { rootsPem } = await tree.authority(CORE);
    const enrol = `127.0.0.1:${api.enrol.port}`;
    const place = {
      server: enrol,
      expected: controlId(CORE),
      as: { rootsPem },
      clock: systemClock,
    };
    const subject = { kind: "cluster", cluster: "asia.acme.mesh", tiers: 0 } as const;
    const about = { enrol, by: CORE, subject, rootsPem };
    const { text, record } = mintToken(about, Date.now());
    tokens.put(record);
    const { secret } = must(readToken(text));
    const joined = must(await askJoin(place, secret));
    assert.deepEqual(
      [joined.issued.subject, registered.get("asia")],
      ["asia.acme.mesh", { tiers: 0 }],
    );
    const again = await askJoin(place, secret);
    assert.ok(!again.ok && again.error.includes("not valid"), JSON.stringify(again));
    // The enrolment port trusts a root, not whoever answers.
    const other = await new TestTree().authority(CORE);
    const wrong = await askJoin({ ...place, as: { rootsPem: other.rootsPem } }, secret);
    assert.equal(wrong.ok, false);
  });

  it("takes up a new identity without closing what is open", async () => {
    const { source, got } = await follow(gatewayId(CORE), CORE);
    await until("it is connected", () => source.status() === "connected");
    identity.rotate(await tree.identity(controlId(CORE), CORE));
    hub.publish("gateway", simpleSnapshot([1], { revision: "after" }));
    await until("the old connection goes on", () =>
      got.some(({ revision }) => revision === "after"),
    );
    const { source: fresh } = await follow(gatewayId(CORE), CORE);
    await until("a new one comes in", () => fresh.status() === "connected");
  });
});
