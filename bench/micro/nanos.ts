const RUNS = 7;
const TIMES = 200_000;

/** ns per call, as the median of several runs of `times` calls. */
export function nanos(act: (i: number) => void, times = TIMES): number {
  const runs: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    const before = process.hrtime.bigint();
    for (let i = 0; i < times; i++) act(i);
    runs.push(Number(process.hrtime.bigint() - before) / times);
  }
  return runs.sort((a, b) => a - b)[RUNS >> 1]!;
}

/** One line of the table. */
export function line(what: string, ns: number, beside = ""): string {
  return `  ${what.padEnd(40)} ${ns.toFixed(0).padStart(6)} ns${beside === "" ? "" : `  ${beside}`}`;
}
