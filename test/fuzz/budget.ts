import { readFileSync } from "node:fs";
import { ROOT } from "#test/kit/processes.ts";

/*
 * How much is tried. Without a word: so many cases that `make test` stays short. ESPALIER_FUZZ_SECONDS=600 tries for
 * so long, beginning at ESPALIER_FUZZ_SEED; that alone replays one case.
 */
const SECONDS = process.env["ESPALIER_FUZZ_SECONDS"];
const SEED = process.env["ESPALIER_FUZZ_SEED"];

/** Seeds of the cases to try. @param cases how many, where nothing else was said. */
export function* seeds(cases: number): Iterable<number> {
  const from = Number(SEED ?? 1);
  if (SECONDS === undefined) {
    const count = SEED === undefined ? cases : 1;
    for (let seed = from; seed < from + count; seed++) yield seed;
    return;
  }
  const end = performance.now() + Number(SECONDS) * 1_000;
  for (let seed = from; performance.now() < end; seed++) yield seed;
}

/** True unless one case is replayed or the run is long: what must be true of all cases together can be asked. */
export const IS_WHOLE = SEED === undefined;

/** What to say of a case that fails. */
export function replay(file: string, seed: number, said: string): string {
  const command = `ESPALIER_FUZZ_SEED=${seed} ./node_modules/node/bin/node --test test/fuzz/${file}`;
  return `${JSON.stringify(said)}\nreplay: ${command}`;
}

/** Cases that were interesting once, from `test/fuzz/seeds/`. */
export function keptCases<T>(file: string): readonly T[] {
  return JSON.parse(readFileSync(`${ROOT}/test/fuzz/seeds/${file}`, "utf8")) as T[];
}
