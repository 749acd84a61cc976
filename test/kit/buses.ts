import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Identity } from "#certs/identity/identity.ts";
import { controlId } from "#certs/identity/spiffe_id.ts";
import { PeerVerifier } from "#certs/workload/peer_verifier.ts";
import { clientTls } from "#certs/workload/tls.ts";
import { LinkRelay } from "#cli/demo/link_relay.ts";
import { busPermissions } from "#control/authority/table.ts";
import type { Bus } from "#discovery/bus/bus.ts";
import { MemoryBroker } from "#discovery/bus/memory.ts";
import { NatsBus } from "#discovery/bus/nats.ts";
import { findNatsServer } from "#discovery/bus/nats_binary.ts";
import { NatsServer } from "#discovery/bus/nats_server.ts";
import { systemClock } from "#kernel/clock.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { systemRng } from "#kernel/rng.ts";
import { cluster, must, TestTree } from "#test/kit/mesh.ts";
import { ROOT, until } from "#test/kit/processes.ts";

/** One cluster's bus with its owner and some children, and a way to cut each child off. */
export interface BusFixture {
  readonly parent: Bus;
  child(label: string): Bus;
  /** Nothing passes between the child and the bus while it is cut. */
  cut(label: string, isCut: boolean): void;
  close(): Promise<void>;
}

export type OpenFixture = (labels: readonly string[]) => Promise<BusFixture>;

/** The bus in memory. */
export async function memoryFixture(labels: readonly string[]): Promise<BusFixture> {
  const broker = new MemoryBroker({ clock: systemClock, rng: systemRng(), noticeMs: 300 });
  const parent = broker.connect("parent", busPermissions("self", ""));
  const children = new Map(
    labels.map((label) => [label, broker.connect(label, busPermissions("child", label))]),
  );
  return {
    parent,
    child: (label) => children.get(label)!,
    cut: (label, isCut) => {
      broker.link(label).down = isCut;
    },
    close: async () => {
      for (const bus of [parent, ...children.values()]) await bus.close();
    },
  };
}

/** A real nats-server with mTLS; each child reaches it by a relay of its own. */
export async function natsFixture(labels: readonly string[]): Promise<BusFixture> {
  const binary = await findNatsServer(ROOT, process.env);
  // A missing piece is an error that says how to get it, never a skipped test.
  const dir = await mkdtemp(join(tmpdir(), "espalier-bus-"));
  const tree = new TestTree();
  const core = cluster("core");
  const own = await tree.identity(controlId(core), core);
  const users = [
    { id: controlId(core), permissions: busPermissions("self", "") },
    ...labels.map((label) => ({
      id: controlId(cluster(label)),
      permissions: busPermissions("child", label),
    })),
  ];
  const log = new MemoryLogger();
  const ports = { clock: systemClock, rng: systemRng(), log };
  const options = { ...ports, binary: must(binary), dir, address: "127.0.0.1", port: 0 };
  const server = must(await NatsServer.start(options, own, users));
  const parent = natsBus(server.port, own);
  const relays = new Map<string, LinkRelay>();
  const children = new Map<string, NatsBus>();
  for (const label of labels) {
    const relay = new LinkRelay(0, systemClock);
    relay.target = server.port;
    relays.set(label, relay);
    const identity = await tree.identity(controlId(cluster(label)), cluster(label));
    children.set(label, natsBus(await relay.listen(), identity));
  }
  const buses = [parent, ...children.values()];
  await until("all buses are up", () => buses.every((bus) => bus.status() === "up"));
  return {
    parent,
    child: (label) => children.get(label)!,
    cut: (label, isCut) => {
      relays.get(label)!.blackHole = isCut;
    },
    close: async () => {
      await Promise.all(buses.map((bus) => bus.close()));
      for (const relay of relays.values()) relay.close();
      await server.close();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** A bus of core's nats-server, as `identity`. */
export function natsBus(port: number, identity: Identity): NatsBus {
  return new NatsBus({
    server: `127.0.0.1:${port}`,
    name: identity.cluster,
    clock: systemClock,
    rng: systemRng(),
    log: new MemoryLogger(),
    tls: () =>
      clientTls(
        identity,
        new PeerVerifier(identity.rootsPem, systemClock),
        controlId(cluster("core")),
      ),
  });
}
