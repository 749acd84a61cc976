import { writeFileSync } from "node:fs";
import { AdaptiveLimit } from "#proxy/admit/adaptive_limit.ts";
import {
  type Conditions,
  HUNDRED_SERVERS,
  LimitedUpstream,
  type Limiter,
  type Phase,
} from "#test/sim/adaptive_limits.ts";
import { AimdLimit, GradientLimit } from "#test/sim/limit_candidates.ts";

/*
 * What an upstream bears, as three rules learn it: a table of scenarios in virtual time.
 * `node bench/scale/adaptive_limits.ts [FILE]` writes it there, or to the terminal.
 */

const UPSTREAM: Conditions = { ...HUNDRED_SERVERS, queueMax: 1_000_000 };
const CAPACITY = 4_780;

interface Scenario {
  readonly name: string;
  readonly changes?: Partial<Conditions>;
  /** The phase that is measured; what has to come before it comes before it. */
  readonly run: (world: LimitedUpstream) => Phase;
}

const overloaded = (world: LimitedUpstream): Phase => {
  world.phase(10_000);
  return world.phase(10_000, { rate: 3 * CAPACITY });
};

const SCENARIOS: readonly Scenario[] = [
  {
    name: "42 % load",
    run: (world) => {
      world.phase(10_000);
      return world.phase(20_000);
    },
  },
  {
    name: "42 % load, response times lognormal, σ = 1",
    changes: { sigma: 1, rate: 1_240 },
    run: (world) => {
      world.phase(10_000);
      return world.phase(60_000);
    },
  },
  { name: "300 % load, from its first second", run: overloaded },
  {
    name: "300 % load, 60 s later",
    run: (world) => {
      overloaded(world);
      world.phase(50_000);
      return world.phase(10_000);
    },
  },
  {
    name: "300 % load from the start of the proxy, second 10 to 20",
    changes: { rate: 3 * CAPACITY },
    run: (world) => {
      world.phase(10_000);
      return world.phase(10_000);
    },
  },
  {
    name: "300 % load, its queue holds 50, then it answers 503",
    changes: { queueMax: 50 },
    run: (world) => {
      overloaded(world);
      return world.phase(10_000);
    },
  },
  {
    name: "100 servers become 30, 63 % load becomes 209 %",
    changes: { rate: 3_000 },
    run: (world) => {
      world.phase(10_000);
      return world.phase(20_000, { servers: 30 });
    },
  },
  {
    name: "… and 100 again, 63 % load",
    changes: { rate: 3_000 },
    run: (world) => {
      world.phase(10_000);
      world.phase(20_000, { servers: 30 });
      return world.phase(20_000, { servers: 100 });
    },
  },
  {
    name: "round trip 40 → 120 ms, first 10 s",
    changes: { rttMs: 40 },
    run: (world) => {
      world.phase(10_000);
      return world.phase(10_000, { rttMs: 120 });
    },
  },
  {
    name: "… and after 60 s",
    changes: { rttMs: 40 },
    run: (world) => {
      world.phase(10_000);
      world.phase(60_000, { rttMs: 120 });
      return world.phase(20_000);
    },
  },
  {
    name: "25 % load, work grows from 20 to 60 ms within 2 min",
    changes: { rate: 1_200 },
    run: (world) => {
      world.phase(10_000);
      for (let ms = 20; ms < 60; ms += 2) world.phase(6_000, { serviceMs: ms });
      return world.phase(20_000, { serviceMs: 60 });
    },
  },
  {
    name: "bursts: 300 % for 0.3 s every 5 s, 42 % between",
    run: (world) => {
      world.phase(10_000);
      return world.phases(20, (at) => [
        at % 2 === 0 ? 4_700 : 300,
        { rate: at % 2 === 0 ? 2_000 : 3 * CAPACITY },
      ]);
    },
  },
  {
    name: "after 5 min of 20 requests/s: 63 % load, its first second",
    run: (world) => {
      overloaded(world);
      world.phase(300_000, { rate: 20 });
      return world.phase(1_000, { rate: 3_000 });
    },
  },
];

const RULES: ReadonlyArray<readonly [string, () => Limiter]> = [
  ["kept", () => new AdaptiveLimit()],
  ["gradient", () => new GradientLimit()],
  ["AIMD", () => new AimdLimit()],
];

function row({ name, run, changes }: Scenario): string {
  const cells = RULES.map(([, make]) => {
    const world = new LimitedUpstream(make(), { ...UPSTREAM, ...changes }, 1);
    const phase = run(world);
    const { asked, held, served, dropped, p99, limit } = phase;
    const percent = (part: number) => `${((100 * part) / asked).toFixed(1)} %`;
    const shownLimit = Number.isFinite(limit) ? limit.toFixed(0) : "none";
    const drops = dropped === 0 ? "" : `, 503 ${percent(dropped)}`;
    return `${served} served, held ${percent(held)}${drops}, p99 ${p99.toFixed(0)} ms, limit ${shownLimit}`;
  });
  return `| ${name} | ${cells.join(" | ")} |`;
}

const text = `# What an upstream bears: three rules to learn it

Made by \`node bench/scale/adaptive_limits.ts\`: virtual time, one upstream of 100 servers with one queue, 20 ms of work each
(lognormal, σ = 0.3), 1 ms away, so 4,780 requests/s at most; Poisson arrivals that do not wait for each other. "held": not sent, because the limit was
reached. "kept" is \`proxy/admit/adaptive_limit.ts\`, the others are in \`test/sim/limit_candidates.ts\`.

| scenario | ${RULES.map(([name]) => name).join(" | ")} |
|---|${RULES.map(() => "---|").join("")}
${SCENARIOS.map(row).join("\n")}
`;
const [, , file] = process.argv;
if (file === undefined) console.log(text);
else writeFileSync(file, text);
