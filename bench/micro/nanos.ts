const RUNS = 7;
const TIMES = 200_000;

/** ns per call, as the median of several runs. */
export function nanos(act: (i: number) => void): number {
  const runs: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    const before = process.hrtime.bigint();
    for (let i = 0; i < TIMES; i++) act(i);
    runs.push(Number(process.hrtime.bigint() - before) / TIMES);
  }
  return runs.sort((a, b) => a - b)[RUNS >> 1]!;
}

/** One line of the table. */
export function line(what: string, ns: number, beside = ""): string {
  return `  ${what.padEnd(40)} ${ns.toFixed(0).padStart(6)} ns${beside === "" ? "" : `  ${beside}`}`;
}
