import { seededRng } from "#kernel/rng.ts";
import type { Service } from "#model/snapshot.ts";
import { between } from "#test/sim/scale/chance.ts";
import type { Surroundings } from "#test/sim/scale/rule_names.ts";
import { LinkWatch } from "#test/sim/scale/rules/link_watch.ts";
import { ControlPlane } from "#test/sim/scale/rules/waterfall_control.ts";
import { WaterfallGateway } from "#test/sim/scale/rules/waterfall_gateway.ts";
import type { ScaleWorld } from "#test/sim/scale/scale_world.ts";

const SKEW_MS = 600_000;
/** What no clock may be below, however much it is behind. */
const EPOCH_MS = 1_000_000;
/** Trees so deep are told whole in so many rounds. */
const ROUNDS = 4;

/** Production gateways and control services for every cluster, as they are after a calm night. */
export function waterfallRules(world: ScaleWorld, around: Surroundings): WaterfallGateway[] {
  const { topology, network, queue, seed } = world;
  const { places } = topology;
  const controls = places.map((place) => new ControlPlane(place, queue, network));
  world.controls = controls;
  const chance = seededRng(seed, 31);
  const nameOf = (cluster: number) => places[cluster]!.name;
  const idOf = new Map(places.map(({ name, id }) => [name, id]));
  const gateways = places.map((place) => {
    const rng = seededRng(seed, place.id, 7);
    const skew = between(rng, -SKEW_MS, SKEW_MS);
    const skewMs = around.skewed ? Math.round(EPOCH_MS + skew) : 0;
    return new WaterfallGateway({ place, service: NOTHING, nameOf, rng, skewMs });
  });
  controls.forEach((control, i) => {
    const { parent } = places[i]!;
    control.attach(gateways[i]!, parent && controls[parent.id]!);
  });
  for (let round = 0; round < ROUNDS; round++) for (const control of controls) control.settle();
  const watched = new Set(around.watched.map(([a, b]) => `${a} ${b}`));
  for (const gateway of gateways) {
    const from = gateway.place.id;
    const service = controls[from]!.service();
    if (service !== undefined) gateway.use(service, 0);
    for (const { kind, cluster } of gateway.balancer.locales) {
      if (kind === "local") continue;
      const to = idOf.get(cluster)!;
      gateway.linkRtt(to, network.rttMs(from, to), 0);
      if (!watched.has(`${from} ${to}`) && !watched.has(`${to} ${from}`)) continue;
      const onReading = (rttMs: number | undefined, wentDown: boolean): void => {
        gateway.linkRtt(to, rttMs, queue.now);
        if (wentDown) around.sever(from, to);
      };
      new LinkWatch({ queue, network, rng: chance }, { from, to }, onReading).start();
    }
    controls[from]!.start(chance.next());
  }
  return gateways;
}

/** Before the first snapshot. */
const NOTHING: Service = {
  name: "menu.shop" as Service["name"],
  port: 80,
  appProtocol: "http",
  exported: true,
  locales: [],
};
