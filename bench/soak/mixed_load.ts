import { CUTS } from "#bench/soak/cutting_relay.ts";
import { ENDS, Ledger } from "#bench/soak/ledger.ts";
import { KINDS, Streams } from "#bench/soak/streams.ts";
import { type Footprint, SoakWorld } from "#bench/soak/world.ts";
import { seededRng } from "#kernel/rng.ts";
import { until } from "#test/kit/processes.ts";

/*
 * Mixed load over HTTP/1.1 and HTTP/2, plain and as calls that stream, at rates that change, through one gateway and
 * through two; connections of clients, endpoints and of the link between the gateways are cut at random. Every stream
 * has to end with its own answer whole, with an error, or cut; and at the end the gateways hold what they held before.
 *
 *   make soak MINUTES=10 SEED=1
 *
 * Prints a summary as JSON; exit code 1 if a promise was broken.
 */

/** Streams per second, a while each. */
const RATES = [10, 30, 60, 100, 150];
const RATE_FOR_MS = 4_000;
const TICK_MS = 20;
/** Between two cuts: so much on average. */
const CUT_EVERY_MS = 700;
/** More than that at a time tells of the machine alone. */
const RUNNING_MAX = 600;
/** The half of it without cuts. */
const WARM_UP_MS = 60_000;
/** Idle connections to endpoints are closed after 30 s. */
const SETTLED_WITHIN_MS = 90_000;
/**
 * By how much a gateway may be larger at the end than it was at its largest in the first third: what a heap has once
 * needed for a burst it keeps, and bursts differ.
 */
const RSS_MORE_MB = 48;
const FILES_MORE = 4;

function option(name: string, otherwise: number): number {
  const at = process.argv.indexOf(name);
  return at < 0 ? otherwise : Number(process.argv[at + 1]);
}

const minutes = option("--minutes", 2);
const seed = option("--seed", 1);
const rng = seededRng(seed);
const ledger = new Ledger();
const world = await SoakWorld.open();
const streams = new Streams(ledger, rng);
const cuts: Record<string, number> = {};

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Load for so long. @param isCutting while connections are cut. */
async function run(forMs: number, isCutting: boolean): Promise<void> {
  const end = performance.now() + forMs;
  let rate = RATES[0]!;
  let rateUntil = 0;
  let due = 0;
  let nextCut = performance.now() + CUT_EVERY_MS;
  let last = performance.now();
  for (let now = last; now < end; now = performance.now()) {
    if (now > rateUntil) {
      rate = RATES[rng.below(RATES.length)]!;
      rateUntil = now + RATE_FOR_MS;
    }
    due += ((now - last) / 1_000) * rate;
    last = now;
    for (; due >= 1; due--) {
      if (ledger.running < RUNNING_MAX) begin();
    }
    if (isCutting && now > nextCut) {
      nextCut = now + rng.next() * 2 * CUT_EVERY_MS;
      cutOne();
    }
    ledger.sweep();
    await pause(TICK_MS);
  }
}

function begin(): void {
  streams.begin(KINDS[rng.below(KINDS.length)]!, world.ports[rng.below(2)]!);
}

function cutOne(): void {
  const ways = Object.entries(world.relays);
  const [way, relay] = ways[rng.below(ways.length)]!;
  const how = CUTS[rng.below(CUTS.length)]!;
  const key = `${way} ${how}`;
  // Now and then all at once, as when a machine goes.
  const count = rng.below(8) === 0 ? relay.open : 1;
  for (let i = 0; i < count; i++)
    cuts[key] = (cuts[key] ?? 0) + relay.cut(rng.below(1_000_000), how);
}

async function footprints(): Promise<Record<"near" | "far", Footprint>> {
  const { near, far } = world.gateways;
  return { near: await near.footprint(), far: await far.footprint() };
}

/** Waits for the end of all that runs, and until the gateways hold no more files than `files`. */
async function settle(files: Record<string, Footprint>, problems: string[]): Promise<void> {
  const ended = async (): Promise<boolean> => {
    ledger.sweep();
    const still = await Promise.all(Object.values(world.gateways).map((one) => one.isStill()));
    return ledger.running === 0 && still.every((is) => is);
  };
  await until("all has ended", ended, SETTLED_WITHIN_MS).catch((error: Error) =>
    problems.push(error.message),
  );
  streams.close();
  const back = async (): Promise<boolean> => {
    const now = await footprints();
    return Object.entries(files).every(
      ([name, was]) => now[name as "near" | "far"].files <= was.files + FILES_MORE,
    );
  };
  await until("files are closed", back, SETTLED_WITHIN_MS).catch((error: Error) =>
    problems.push(error.message),
  );
}

const problems: string[] = [];
const fresh = await footprints();
await run(WARM_UP_MS / 2, false);
await settle(fresh, problems);
for (const end of ["cut", "error"] as const) {
  if (ledger.total(end) > 0) problems.push(`${ledger.total(end)} ${end} although nothing was cut`);
}
await run(WARM_UP_MS / 2, true);
await settle(fresh, problems);
const before = await footprints();
const course: Array<Record<"near" | "far", Footprint>> = [];
for (let minute = 0; minute < minutes; minute++) {
  await run(Math.min(1, minutes - minute) * 60_000, true);
  course.push(await footprints());
}
await settle(before, problems);
const afterwards = await footprints();
const early = [before, ...course.slice(0, Math.ceil(minutes / 3))];
for (const name of ["near", "far"] as const) {
  const { rssMb } = afterwards[name];
  const most = Math.max(...early.map((then) => then[name].rssMb));
  if (rssMb > most + RSS_MORE_MB) problems.push(`${name} has grown from ${most} to ${rssMb} MB`);
}
problems.push(...ledger.wrongs.slice(0, 20));
const totals = Object.fromEntries(ENDS.map((end) => [end, ledger.total(end)]));
const lines = [fresh, before, ...course, afterwards].map(({ near, far }) => {
  return `${near.rssMb} + ${far.rssMb} MB, ${near.files} + ${far.files} files`;
});
const summary = { minutes, seed, totals, kinds: ledger.counts, reasons: ledger.reasons };
console.log(JSON.stringify({ ...summary, cuts, course: lines, problems }, null, 2));
await world.close();
process.exitCode = problems.length > 0 ? 1 : 0;
