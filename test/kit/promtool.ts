import { spawnSync } from "node:child_process";

/**
 * What `promtool check metrics` has against an exposition; "" is nothing. Undefined: there is no promtool
 * on PATH (Debian: package prometheus).
 */
export function promtoolSays(metrics: string): string | undefined {
  const { error, stdout, stderr } = spawnSync("promtool", ["check", "metrics"], {
    input: metrics,
    encoding: "utf8",
  });
  return error === undefined ? `${stdout}${stderr}` : undefined;
}

/** The value of one line, `name{labels}`; undefined: it is not there. */
export function metricOf(metrics: string, series: string): number | undefined {
  const line = metrics.split("\n").find((one) => one.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
}
