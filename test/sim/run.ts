import type { ClusterName } from "#model/names.ts";
import { randomFault } from "#test/sim/faults.ts";
import { broken, notConverged } from "#test/sim/invariants.ts";
import { SIM_HOST, SimWorld } from "#test/sim/world.ts";

const STEP_MS = 100;
const FAULTY_STEPS = 300;
/** Longer than any ejection, lease and deadline together. */
const HEAL_MS = 45_000;

/** A black hole is noticed within 3 s; a slow endpoint may add its own delay. */
const SLOWEST_MS = 4_000;

/** Whose own endpoints were alive all the time need not feel what happens elsewhere. */
function* unserved(world: SimWorld, hurt: ReadonlySet<ClusterName>): Iterable<string> {
  for (const { at, sentAt, endedAt, status } of world.requests) {
    if (hurt.has(at) || (status === 200 && endedAt - sentAt < SLOWEST_MS)) continue;
    yield `${at}: a request of ${sentAt.toFixed(0)} got ${status} after ${(endedAt - sentAt).toFixed(0)} ms, although its own endpoints are alive`;
  }
}

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
  const hurt = new Set<ClusterName>();
  for (let step = 0; step < FAULTY_STEPS && wrong.length === 0; step++) {
    if (world.rng.next() < 0.06) {
      const fault = randomFault(world);
      undo.push(fault.undo);
      if (/^(?:endpoint_dies|service_dies)/.test(fault.name)) hurt.add(fault.at);
      story.push(`${(world.clock.now() / 1000).toFixed(1)} s: ${fault.name}`);
    }
    if (undo.length > 0 && world.rng.next() < 0.03) undo.shift()!();
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
  say(unserved(world, hurt));
  const last = world.requests.slice(-7 * 20);
  const failed = last.filter(({ status }) => status !== 200);
  if (failed.length > 0) wrong.push(`${failed.length} requests failed after all was well again`);
  return wrong.length === 0 ? [] : [...wrong.slice(0, 20), ...story];
}
