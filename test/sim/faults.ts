import { controlId } from "#certs/identity/spiffe_id.ts";
import { busPermissions } from "#control/authority/table.ts";
import { encode } from "#discovery/sync/messages.ts";
import { factSubject } from "#discovery/sync/subjects.ts";
import type { Rng } from "#kernel/rng.ts";
import { type ClusterName, firstLabel } from "#model/names.ts";
import type { SimCluster, SimWorld } from "#test/sim/world.ts";

/** Something that goes wrong. Returns how it is undone. */
type Fault = (world: SimWorld, at: SimCluster) => () => void;

function oneOf<T>(items: readonly T[], rng: Rng): T {
  return items[Math.floor(rng.next() * items.length)]!;
}

function withBusLink(
  world: SimWorld,
  { name, parent }: SimCluster,
  change: (link: { delayMs: number; loss: number; down: boolean }, rng: Rng) => void,
): () => void {
  if (parent === undefined) return () => {};
  const link = parent.broker.link(controlId(name));
  change(link, world.rng);
  return () => Object.assign(link, { delayMs: 0, loss: 0, down: false });
}

const FAULTS: Readonly<Record<string, Fault>> = {
  endpoint_dies: (world, at) => {
    const origin = oneOf(at.origins, world.rng);
    origin.alive = false;
    return () => {
      origin.alive = true;
    };
  },
  service_dies: (_world, at) => {
    for (const origin of at.origins) origin.alive = false;
    return () => {
      for (const origin of at.origins) origin.alive = true;
    };
  },
  endpoint_slows: (world, at) => {
    const origin = oneOf(at.origins, world.rng);
    origin.delayMs = 50 + 500 * world.rng.next();
    return () => {
      origin.delayMs = 2;
    };
  },
  gateway_dies: (world, at) => {
    world.network.killGate(at.gatePort);
    return () => {
      world.network.gate(at.gatePort)!.alive = true;
    };
  },
  link_black_holes: (world, at) => {
    const to = oneOf(
      world.clusters().filter((cluster) => cluster !== at),
      world.rng,
    );
    world.network.blackHole(at.name, to.name, true);
    return () => world.network.blackHole(at.name, to.name, false);
  },
  bus_partition: (world, at) =>
    withBusLink(world, at, (link) => {
      link.down = true;
    }),
  bus_loss: (world, at) =>
    withBusLink(world, at, (link, rng) => {
      link.loss = 0.5 * rng.next();
    }),
  bus_delay: (world, at) =>
    withBusLink(world, at, (link, rng) => {
      link.delayMs = 300 * rng.next();
    }),
  control_restarts: (_world, at) => {
    at.stopControl();
    at.startControl();
    return () => {};
  },
  /** The holder of a store's credentials says what is not his to say. */
  liar: (world, at) => {
    const { parent } = at;
    if (parent === undefined) return () => {};
    const label = firstLabel(at.name);
    const bus = parent.broker.connect(`liar ${at.name}`, busPermissions("child", label));
    const sibling = world.clusters().find((c) => c !== at && c.parent === parent)!;
    const summary = {
      gateways: [{ address: "127.0.0.1", port: at.gatePort }],
      healthy: 1_000,
      total: 1_000,
      port: 80,
      appProtocol: "http",
    };
    const forged = encode("snap", {
      e: "999999-liar",
      s: 1,
      h: "0".repeat(16),
      i: 0,
      of: 1,
      u: [["menu.shop", summary]],
    });
    bus.publish(factSubject(firstLabel(sibling.name), "snap"), forged);
    bus.publish(`mesh.v1.dn.${firstLabel(sibling.name)}.view.snap`, forged);
    bus.publish(factSubject(label, "delta"), Buffer.from("{not json"));
    return () => void bus.close();
  },
};

const NAMES = Object.keys(FAULTS);

/** Does one thing to the world; what it was, for a report. */
export function randomFault(world: SimWorld): {
  readonly name: string;
  readonly at: ClusterName;
  readonly undo: () => void;
} {
  const kind = oneOf(NAMES, world.rng);
  const at = oneOf(world.clusters(), world.rng);
  return { name: `${kind} at ${at.name}`, at: at.name, undo: FAULTS[kind]!(world, at) };
}
