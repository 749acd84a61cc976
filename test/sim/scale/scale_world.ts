import type { Millis } from "#kernel/brand.ts";
import { type Rng, seededRng } from "#kernel/rng.ts";
import { exponential, lognormal } from "#test/sim/scale/chance.ts";
import { EventQueue } from "#test/sim/scale/event_queue.ts";
import { Gateways } from "#test/sim/scale/gateways.ts";
import { type Answer, ClientRequest } from "#test/sim/scale/hop.ts";
import { Network } from "#test/sim/scale/network.ts";
import { makeRules, type RuleName } from "#test/sim/scale/rule_names.ts";
import type { ControlPlane } from "#test/sim/scale/rules/waterfall_control.ts";
import type { Scenario } from "#test/sim/scale/scenario.ts";
import { Station } from "#test/sim/scale/station.ts";
import { type Measured, Statistics } from "#test/sim/scale/statistics.ts";
import { Topology } from "#test/sim/scale/topology.ts";

/** What every client gives its request. */
const DEADLINE_MS: Millis = 1_000;
/** Spread of service times: the slowest of a hundred takes three times the usual. */
const WORK_SIGMA = 0.5;
/** Rates go up and down by that in the time of a run, each region in its own phase, as days do. */
const DAILY = 0.15;
const WARM_S = 5;
const LOAD_MS = 100;

/** What faults may touch. */
export class ScaleWorld {
  readonly queue = new EventQueue();
  readonly topology: Topology;
  readonly network: Network;
  readonly stations: readonly (readonly Station[])[];
  /** Of our rule alone: what clusters say of themselves. */
  controls: readonly ControlPlane[] = [];
  /** What arrivals of a cluster are multiplied by. */
  readonly surge: Float64Array;
  readonly seed: number;

  constructor(scenario: Scenario, seed: number) {
    this.seed = seed;
    this.topology = new Topology(scenario.shape, seed);
    this.network = new Network(this.topology, seed);
    const { places, shape } = this.topology;
    this.stations = places.map(({ pool }) =>
      Array.from(
        { length: pool.endpoints },
        () => new Station(this.queue, pool.servers, shape.serviceMs),
      ),
    );
    this.surge = new Float64Array(places.length).fill(1);
  }

  /** Kills the service of a cluster, or starts it again. */
  kill(place: number, isDead: boolean): void {
    for (const station of this.stations[place]!) {
      station.mode = isDead ? "dead" : "well";
      if (isDead) station.clear();
    }
  }

  /** Concurrent requests that a cluster works on at once. */
  servers(place: number): number {
    return this.stations[place]!.reduce((sum, { servers }) => sum + servers, 0);
  }

  inflight(place: number): number {
    return this.stations[place]!.reduce((sum, { inflight }) => sum + inflight, 0);
  }
}

/** Runs one scenario under one rule: the same seed gives the same arrivals and the same work to every rule. */
export function simulate(scenario: Scenario, rule: RuleName, seed: number): Measured {
  const world = new ScaleWorld(scenario, seed);
  const { queue, topology, network, stations } = world;
  const { fromS, untilS, endS } = scenario;
  const statistics = new Statistics(endS, DEADLINE_MS);
  const story = scenario.plan(world);
  const measured = new Uint8Array(topology.places.length);
  for (const id of story.measured) measured[id] = 1;
  let gateways: Gateways;
  const rules = makeRules(rule, world, {
    watched: story.links,
    skewed: scenario.skewedClocks === true,
    sever: (from, to) => gateways.sever(from, to),
  });
  const over = (request: ClientRequest, answer: Answer | "deadline"): void => {
    if (measured[request.at] === 0) return;
    const ms = answer === "ok" ? queue.now - request.sentAt : undefined;
    statistics.add(request.sentAt, ms, request.paid);
  };
  gateways = new Gateways({ queue, network, stations, rules, observer: { over } });
  for (const { id } of topology.places) arrivals(world, id, endS * 1_000, gateways);
  queue.every(LOAD_MS, LOAD_MS, () => {
    for (const id of story.receivers) {
      statistics.load(queue.now, world.inflight(id) / world.servers(id));
    }
  });
  queue.at(fromS * 1_000, () => story.begin());
  queue.at(untilS * 1_000, () => story.end());
  queue.runUntil(endS * 1_000 + DEADLINE_MS);
  return statistics.measure(WARM_S, fromS, endS);
}

/** Open loop: clients send whether or not others are answered. */
function arrivals(world: ScaleWorld, place: number, endMs: Millis, gateways: Gateways): void {
  const { queue, topology, surge, seed } = world;
  const { rate, region } = topology.places[place]!;
  if (rate <= 0) return;
  const rng: Rng = seededRng(seed, place, 99);
  const phase = (2 * Math.PI * (region + 1)) / (topology.shape.regions + 1);
  const next = (): void => {
    const daily = 1 + DAILY * Math.sin((2 * Math.PI * queue.now) / endMs + phase);
    const at = queue.now + exponential(rng, (rate * daily * surge[place]!) / 1_000);
    if (at >= endMs) return;
    const work = lognormal(rng, WORK_SIGMA);
    queue.at(at, () => {
      gateways.begin(new ClientRequest(place, at, DEADLINE_MS, work));
      next();
    });
  };
  next();
}
