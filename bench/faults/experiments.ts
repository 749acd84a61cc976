import {
  type FaultWorld,
  HOME,
  NEXT_DOOR,
  passes,
  REGION,
  RUSH_PER_SECOND,
} from "#bench/faults/fault_world.ts";
import {
  backAfter,
  failedOf,
  lastBy,
  movedAfter,
  ofClass,
  p99Of,
  worstP99,
} from "#bench/faults/measures.ts";
import type { Reading } from "#bench/faults/reading.ts";
import type { OpenLoop } from "#bench/load/open_loop.ts";
import { dueIn, type RequestLog, spanOf } from "#bench/load/request_log.ts";
import { until } from "#test/kit/processes.ts";

/** Something that is done to the tree under load, and what is measured. It leaves the tree as it was. */
export interface Experiment {
  readonly name: string;
  readonly what: string;
  /** How often, unless it is said otherwise. */
  readonly runs: number;
  run(world: FaultWorld): Promise<Reading[]>;
}

/** Requests per second where the load is not the point. */
const RATE = 400;
const BEFORE_MS = 3_000;
const AFTER_MS = 7_000;
const SETTLED_WITHIN_MS = 60_000;
/** How much larger a p99 may be than it was. */
const NEARLY = 1.5;

const all = (): boolean => true;

/** What has been, and when something happened, ms after the start. */
interface Course {
  readonly log: RequestLog;
  readonly atMs: number;
  readonly late: Reading;
}

/** How far the machine itself was behind: a figure of some ms beside it means nothing if this is large. */
function lateness({ late }: OpenLoop): Reading {
  return { name: "requests left late, p99", value: late.percentile(99) / 1_000, unit: "ms" };
}

/** Load on `service` until `place`, where it has been before, has nearly all of it; something happens to it, and some more load. */
async function through(
  world: FaultWorld,
  { service, place }: { readonly service: string; readonly place: string | undefined },
  event: () => unknown,
  afterMs = AFTER_MS,
): Promise<Course> {
  if (place !== undefined) await world.settled(service, [place]);
  const load = await world.load(service, RATE);
  await passes(load, BEFORE_MS);
  await until(
    `${place} has the traffic`,
    () => {
      const lately = spanOf(load.log, dueIn(load.now - 1_000, load.now - 200));
      return place === undefined || (lately.by.get(place) ?? 0) >= 0.95 * lately.count;
    },
    SETTLED_WITHIN_MS,
  );
  const atMs = load.now;
  await event();
  await passes(load, atMs + afterMs - load.now);
  return { log: await load.stop(), atMs, late: lateness(load) };
}

/** What a loss of a place shows. */
function lossReadings(
  { log, atMs, late }: Course,
  gone: readonly string[],
  movedMs: number,
): Reading[] {
  const after = spanOf(log, dueIn(atMs, Number.POSITIVE_INFINITY));
  return [
    { name: "moved", value: movedAfter(log, atMs, gone), unit: "ms", most: movedMs },
    { name: "failed", value: failedOf(spanOf(log, all)), unit: "requests", most: 0, worst: true },
    { name: "gave up", value: after.results.deadline, unit: "requests", worst: true },
    { name: "longest", value: after.good.max / 1_000, unit: "ms" },
    late,
  ];
}

const crashEndpoints: Experiment = {
  name: "crash of endpoints",
  what: "kill -9 of the process of all local endpoints",
  runs: 3,
  async run(world) {
    const origin = world.origin("menu", HOME);
    const course = await through(world, { service: "menu", place: HOME }, () => origin.kill());
    await origin.start();
    return lossReadings(course, [HOME], 1_000);
  },
};

const crashGateway: Experiment = {
  name: "crash of a gateway",
  what: "kill -9 of the gateway of the cluster that has the traffic",
  runs: 3,
  async run(world) {
    const there = world.tree.at(NEXT_DOOR);
    const course = await through(world, { service: "stock", place: NEXT_DOOR }, () =>
      there.gateway.stop("SIGKILL"),
    );
    await there.startGateway();
    return lossReadings(course, [NEXT_DOOR], 1_000);
  },
};

const blackHole: Experiment = {
  name: "black hole",
  what: "the way to the cluster that has the traffic swallows everything",
  runs: 3,
  async run(world) {
    const { line } = world.tree.at(NEXT_DOOR);
    const course = await through(world, { service: "stock", place: NEXT_DOOR }, () => {
      line.dark = true;
    });
    line.dark = false;
    return lossReadings(course, [NEXT_DOOR], 3_000);
  },
};

const frozenGateway: Experiment = {
  name: "frozen gateway",
  what: "SIGSTOP of the gateway of the cluster that has the traffic",
  runs: 3,
  async run(world) {
    const { gateway } = world.tree.at(NEXT_DOOR);
    await world.settled("stock", [NEXT_DOOR]);
    // Its process may be a child of the shell that has started it: `exec` made them one.
    const course = await through(world, { service: "stock", place: NEXT_DOOR }, () =>
      gateway.child.kill("SIGSTOP"),
    );
    gateway.child.kill("SIGCONT");
    return lossReadings(course, [NEXT_DOOR], 3_000);
  },
};

/** What slowness shows: when the p99 is what it was. */
function slownessReadings({ log, atMs, late }: Course): Reading[] {
  const before = p99Of(spanOf(log, dueIn(atMs - 2_000, atMs)));
  const last = spanOf(log, dueIn(atMs + AFTER_MS - 2_000, atMs + AFTER_MS));
  const bound = NEARLY * before;
  return [
    late,
    { name: "p99 back", value: backAfter(log, atMs, bound), unit: "ms", most: 2_000 },
    { name: "p99 before", value: before, unit: "ms" },
    { name: "p99 at last", value: p99Of(last), unit: "ms" },
    { name: "failed", value: failedOf(spanOf(log, all)), unit: "requests", most: 0, worst: true },
  ];
}

const slowEndpoint: Experiment = {
  name: "slow endpoint",
  what: "one of four local endpoints takes ten times as long",
  runs: 3,
  async run(world) {
    const origin = world.origin("till", HOME);
    const course = await through(world, { service: "till", place: HOME }, () =>
      origin.become("slow", 0),
    );
    origin.become("well");
    return slownessReadings(course);
  },
};

const slowCluster: Experiment = {
  name: "slow cluster",
  what: "all local endpoints take ten times as long; the sibling is 4 ms away",
  runs: 3,
  async run(world) {
    const origin = world.origin("menu", HOME);
    const course = await through(world, { service: "menu", place: HOME }, () =>
      origin.become("slow"),
    );
    origin.become("well");
    return slownessReadings(course);
  },
};

/** Coming back under load. */
async function failbackReadings(
  world: FaultWorld,
  service: string,
  place: string,
  comeBack: () => Promise<void>,
): Promise<Reading[]> {
  // An ejection ends 10 s later at worst.
  const { log, atMs, late } = await through(world, { service, place: undefined }, comeBack, 15_000);
  const before = spanOf(log, dueIn(atMs - 2_000, atMs));
  const worst = worstP99(log, atMs, atMs + 15_000);
  const others = [...before.by.keys()].filter((by) => by !== place);
  return [
    late,
    { name: "back", value: movedAfter(log, atMs, others), unit: "ms" },
    { name: "failed", value: failedOf(spanOf(log, all)), unit: "requests", most: 0, worst: true },
    { name: "p99 before", value: p99Of(before), unit: "ms" },
    {
      name: "worst p99 of a second, times that",
      value: worst / p99Of(before),
      unit: "",
      most: NEARLY,
    },
  ];
}

const failbackEndpoints: Experiment = {
  name: "failback of endpoints",
  what: "the local endpoints are started again",
  runs: 3,
  async run(world) {
    const origin = world.origin("menu", HOME);
    await origin.kill();
    await world.settled("menu", [NEXT_DOOR, REGION]);
    return failbackReadings(world, "menu", HOME, () => origin.start());
  },
};

const failbackGateway: Experiment = {
  name: "failback of a gateway",
  what: "the killed gateway of the nearest cluster is started again",
  runs: 3,
  async run(world) {
    const there = world.tree.at(NEXT_DOOR);
    await there.gateway.stop("SIGKILL");
    await world.settled("stock", [REGION]);
    return failbackReadings(world, "stock", NEXT_DOOR, () => there.startGateway());
  },
};

const totalFailure: Experiment = {
  name: "total failure",
  what: "every endpoint of three clusters answers 503 at once; the ten seconds after the first three",
  runs: 3,
  async run(world) {
    const origins = [HOME, NEXT_DOOR, REGION].map((place) => world.origin("ledger", place));
    await world.settled("ledger", [HOME]);
    const load = await world.load("ledger", RATE);
    await passes(load, BEFORE_MS);
    for (const origin of origins) origin.become("503");
    // What a budget has saved up in good times is spent first: ten seconds' worth.
    await passes(load, 3_000);
    const [fromMs, before] = [load.now, await world.received("ledger")];
    await passes(load, 10_000);
    const log = await load.stop();
    const received = (await world.received("ledger")) - before;
    for (const origin of origins) origin.become("well");
    const span = spanOf(log, dueIn(fromMs, Number.POSITIVE_INFINITY));
    // Besides the share, 10 per second.
    const retries = Math.max(0, received - span.count - (10 * span.count) / RATE);
    // To a tenth: a request on the edge of the span is one retry more or less.
    const share = Math.round((1_000 * retries) / span.count) / 10;
    return [
      {
        name: "received beyond requests and 10/s",
        value: share,
        unit: "%",
        most: 20,
      },
      { name: "received", value: received, unit: "" },
      { name: "requests", value: span.count, unit: "" },
    ];
  },
};

const overload: Experiment = {
  name: "overload",
  what: `three times what the only endpoints can do (${RUSH_PER_SECOND}/s); 10 % critical, 30 % sheddable`,
  runs: 3,
  async run(world) {
    await world.settled("rush", [HOME]);
    const classes = { critical: 0.1, sheddable: 0.3 };
    const more = { classes, deadlineMs: 2_000, arrivals: "poisson" } as const;
    const load = await world.load("rush", 3 * RUSH_PER_SECOND, more);
    // The first seconds are for learning.
    await passes(load, 3_000 + 10_000);
    const log = await load.stop();
    const then = dueIn(3_000, 13_000);
    const span = spanOf(log, then);
    const critical = spanOf(log, ofClass("critical", then));
    return [
      {
        name: "goodput",
        value: (100 * span.results["2xx"]) / (10 * RUSH_PER_SECOND),
        unit: "%",
        least: 90,
      },
      {
        name: "critical served",
        value: (100 * critical.results["2xx"]) / critical.count,
        unit: "%",
        least: 99.5,
      },
      { name: "p99 of critical", value: p99Of(critical), unit: "ms" },
      { name: "p99", value: p99Of(span), unit: "ms" },
      { name: "gave up", value: span.results.deadline, unit: "requests" },
    ];
  },
};

const drain: Experiment = {
  name: "drain",
  what: "`espalier cluster drain` of the cluster that has the traffic, said to the core two levels up",
  runs: 3,
  async run(world) {
    const course = await through(world, { service: "stock", place: NEXT_DOOR }, () =>
      world.tree.order("drain", NEXT_DOOR),
    );
    await world.tree.order("undrain", NEXT_DOOR);
    const { log, atMs, late } = course;
    const { results } = spanOf(log, all);
    const last = lastBy(log, atMs, [NEXT_DOOR]);
    return [
      // The command itself is a process that has to start.
      {
        name: "last new request there, from the start of the command",
        value: last,
        unit: "ms",
        most: 1_000,
      },
      {
        name: "failed",
        value: results["5xx"] + results["4xx"],
        unit: "requests",
        most: 0,
        worst: true,
      },
      { name: "cut", value: results.cut, unit: "requests", most: 0, worst: true },
      late,
    ];
  },
};

const spill: Experiment = {
  name: "spill",
  what: `twice what the endpoints here can do (${RUSH_PER_SECOND}/s); as many next door and in the region`,
  runs: 3,
  async run(world) {
    await world.settled("spill", [HOME, NEXT_DOOR]);
    const arrivals = "poisson";
    const load = await world.load("spill", 2 * RUSH_PER_SECOND, { arrivals, deadlineMs: 2_000 });
    await passes(load, 3_000 + 10_000);
    const log = await load.stop();
    const span = spanOf(log, dueIn(3_000, 13_000));
    const share = (by: string): number => (100 * (span.by.get(by) ?? 0)) / span.count;
    return [
      lateness(load),
      { name: "served", value: (100 * span.results["2xx"]) / span.count, unit: "%", least: 99 },
      { name: "here", value: share(HOME), unit: "%" },
      { name: "next door", value: share(NEXT_DOOR), unit: "%" },
      { name: "in the region", value: share(REGION), unit: "%" },
      { name: "p50", value: span.good.percentile(50) / 1_000, unit: "ms" },
      { name: "p99", value: p99Of(span), unit: "ms" },
    ];
  },
};

/** In the order in which they are run. */
export const EXPERIMENTS: readonly Experiment[] = [
  ...[crashEndpoints, crashGateway, blackHole, frozenGateway, slowEndpoint, slowCluster],
  ...[failbackEndpoints, failbackGateway, drain, totalFailure],
  ...[overload, spill],
];
