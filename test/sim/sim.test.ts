import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runSeed } from "#test/sim/run.ts";

/** How many seeds, and from which on: `SIM_SEEDS=10000 SIM_FROM=1`. */
const FROM = Number(process.env["SIM_FROM"] ?? 1);
const SEEDS = Number(process.env["SIM_SEEDS"] ?? 100);

describe("a tree of seven clusters, whatever happens to it", () => {
  it(`holds for seeds ${FROM} to ${FROM + SEEDS - 1}`, () => {
    for (let seed = FROM; seed < FROM + SEEDS; seed++) {
      const wrong = runSeed(seed);
      const replay = `SIM_FROM=${seed} SIM_SEEDS=1 ./node_modules/node/bin/node --test test/sim/sim.test.ts`;
      assert.deepEqual(wrong, [], `seed ${seed}; replay: ${replay}\n${wrong.join("\n")}`);
    }
  });
});
