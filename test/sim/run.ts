import { randomFault } from "#test/sim/faults.ts";
import { broken, notConverged } from "#test/sim/invariants.ts";
import { SIM_HOST, SimWorld } from "#test/sim/world.ts";

const STEP_MS = 100;
const FAULTY_STEPS = 300;
/** Longer than any ejection, lease and deadline together. */
const HEAL_MS = 45_000;

/** Runs one seed. Returns what broke, oldest first; empty if all held. */
export function runSeed(seed: number): string[] {
  const world = new SimWorld(seed);
  const story: string[] = [];
  const wrong: string[] = [];
  world.network.onHop = (from, to, path) => {
    if (path.includes(to))
      wrong.push(`${from} sent a request back to ${to}, along ${path.join(",")}`);
    if (path.at(-1) !== from) wrong.push(`${from} is not the last of ${path.join(",")}`);
  };
  const say = (found: Iterable<string>): void => {
    for (const what of found) wrong.push(`${(world.clock.now() / 1000).toFixed(1)} s: ${what}`);
  };
  world.clock.advance(10_000);
  say(notConverged(world));
  const undo: Array<() => void> = [];
  for (let step = 0; step < FAULTY_STEPS && wrong.length === 0; step++) {
    if (world.rng.next() < 0.06) {
      const fault = randomFault(world);
      undo.push(fault.undo);
      story.push(`${(world.clock.now() / 1000).toFixed(1)} s: ${fault.name}`);
    }
    if (undo.length > 0 && world.rng.next() < 0.05) undo.shift()!();
    for (const cluster of world.clusters()) {
      if (world.rng.next() < 0.3) world.request(cluster, SIM_HOST);
    }
    world.clock.advance(STEP_MS);
    say(broken(world));
  }
  for (const act of undo) act();
  world.network.healAll();
  world.clock.advance(HEAL_MS);
  say(broken(world));
  // A request to each, so that weights are looked at again.
  for (let i = 0; i < 20; i++) {
    for (const cluster of world.clusters()) world.request(cluster, SIM_HOST);
    world.clock.advance(500);
  }
  world.clock.advance(5_000);
  say(notConverged(world));
  const running = world.requests.filter(({ status }) => status === undefined);
  if (running.length > 0) wrong.push(`${running.length} requests have no end`);
  const last = world.requests.slice(-7 * 20);
  const failed = last.filter(({ status }) => status !== 200);
  if (failed.length > 0) wrong.push(`${failed.length} requests failed after all was well again`);
  return wrong.length === 0 ? [] : [...wrong.slice(0, 20), ...story];
}
