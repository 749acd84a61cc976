import type { Results } from "#test/sim/scale/judgement.ts";
import type { RuleName } from "#test/sim/scale/rule_names.ts";
import type { Scenario } from "#test/sim/scale/scenario.ts";
import type { Second } from "#test/sim/scale/statistics.ts";

const WIDTH = 880;
const PANEL = 96;
const GAP = 26;
const LEFT = 60;
const TOP = 46;
/** Seconds per point. */
const STEP = 2;

const COLOURS: Readonly<Record<RuleName, string>> = {
  waterfall: "#0b62c4",
  envoy: "#d2691e",
  istio: "#2e8b57",
  "round-robin": "#8a8a8a",
  nearest: "#b03060",
  latency: "#8060c0",
};

interface Panel {
  readonly title: string;
  /** Of the seconds of one point. */
  readonly of: (seconds: readonly Second[]) => number;
  readonly unit: string;
}

const mean = (of: (second: Second) => number) => (seconds: readonly Second[]) =>
  seconds.reduce((sum, second) => sum + of(second), 0) / seconds.length;
const most = (of: (second: Second) => number) => (seconds: readonly Second[]) =>
  Math.max(...seconds.map(of));

const PANELS: readonly Panel[] = [
  { title: "served per second (dotted: offered)", of: mean((s) => s.served), unit: "/s" },
  { title: "failed per second", of: mean((s) => s.failed), unit: "/s" },
  { title: "p99, failures at their deadline", of: mean((s) => s.p99Ms), unit: " ms" },
  { title: "share over paid links", of: mean((s) => 100 * s.paid), unit: " %" },
  { title: "busiest receiver: requests / servers", of: most((s) => s.load), unit: "" },
];

/** One scenario under all rules as an SVG of stacked panels over the seconds of the run. */
export function plot(scenario: Scenario, results: Results): string {
  const height = TOP + PANELS.length * (PANEL + GAP) + 16;
  const parts = PANELS.map((panel, i) =>
    panelOf(panel, { scenario, results, top: TOP + i * (PANEL + GAP) + 16 }),
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="#fff"/>
<text x="${LEFT}" y="16" font-size="14">${scenario.name}: ${scenario.title}</text>
${legend([...results.keys()])}
${parts.join("\n")}
</svg>
`;
}

function legend(rules: readonly RuleName[]): string {
  return rules
    .map((rule, i) => {
      const x = LEFT + i * 120;
      return `<path d="M${x} 32h18" stroke="${COLOURS[rule]}" stroke-width="2"/><text x="${x + 22}" y="36">${rule}</text>`;
    })
    .join("");
}

interface Frame {
  readonly scenario: Scenario;
  readonly results: Results;
  readonly top: number;
}

function panelOf({ title, of, unit }: Panel, { scenario, results, top }: Frame): string {
  const lines = [...results].map(([rule, { seconds }]) => ({ rule, values: points(seconds, of) }));
  const [first] = results.values();
  const offered = title.startsWith("served") ? points(first!.seconds, PANELS_OFFERED) : [];
  const highest = Math.max(...lines.flatMap(({ values }) => values), ...offered);
  const full = highest === 0 ? 1 : highest;
  const { endS, fromS, untilS } = scenario;
  const x = (second: number): number => LEFT + ((WIDTH - LEFT - 20) * second) / endS;
  const y = (value: number): number => top + PANEL * (1 - value / full);
  const path = (values: readonly number[]): string =>
    values
      .map((v, i) => `${i === 0 ? "M" : "L"}${x(i * STEP).toFixed(0)} ${y(v).toFixed(1)}`)
      .join("");
  const drawn = lines
    // Ours last: on top.
    .reverse()
    .map(({ rule, values }) => {
      const width = rule === "waterfall" ? 2 : 1;
      return `<path d="${path(values)}" fill="none" stroke="${COLOURS[rule]}" stroke-width="${width}"/>`;
    });
  const dotted =
    offered.length === 0
      ? ""
      : `<path d="${path(offered)}" fill="none" stroke="#000" stroke-dasharray="1 3"/>`;
  return `<text x="${LEFT}" y="${top - 5}">${title}</text>
<rect x="${x(fromS).toFixed(0)}" y="${top}" width="${(x(untilS) - x(fromS)).toFixed(0)}" height="${PANEL}" fill="#f6ecd8"/>
<path d="M${LEFT} ${top}V${top + PANEL}H${WIDTH - 20}" fill="none" stroke="#444"/>
<text x="${LEFT - 5}" y="${top + 9}" text-anchor="end">${short(full)}${unit}</text>
<text x="${LEFT - 5}" y="${top + PANEL}" text-anchor="end">0</text>
<text x="${x(fromS).toFixed(0)}" y="${top + PANEL + 12}">${fromS} s</text>
<text x="${x(untilS).toFixed(0)}" y="${top + PANEL + 12}">${untilS} s</text>
${drawn.join("\n")}${dotted}`;
}

const PANELS_OFFERED = mean((second) => second.offered);

function points(
  seconds: readonly Second[],
  of: (seconds: readonly Second[]) => number,
): readonly number[] {
  const values: number[] = [];
  for (let s = 0; s < seconds.length; s += STEP) values.push(of(seconds.slice(s, s + STEP)));
  return values;
}

function short(value: number): string {
  return value >= 10 ? value.toFixed(0) : value.toFixed(1);
}
