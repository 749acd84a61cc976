import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { allot, type Claim } from "#control/catalog/allot.ts";
import { type Rng, seededRng } from "#kernel/rng.ts";

const CASES = 2_000;

interface Case {
  readonly seed: number;
  readonly total: number;
  readonly claims: readonly Claim[];
  readonly rng: Rng;
}

/** Totals, wants and floors of every kind: equal ones, zeros, and some that are more than there is. */
function generated(seed: number): Case {
  const rng = seededRng(seed);
  const total = rng.below(4) === 0 ? 0 : rng.next() * 1_000;
  const size = 1 + rng.below(12);
  const want = (): number => [0, 10, rng.next() * 10, rng.next() * 500][rng.below(4)]!;
  const claims = Array.from({ length: size }, () => ({
    want: want(),
    ...(rng.below(2) === 0 ? {} : { floor: rng.next() * 20 }),
  }));
  return { seed, total, claims, rng };
}

function holds(property: (one: Case) => void): void {
  for (let seed = 1; seed <= CASES; seed++) {
    try {
      property(generated(seed));
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Of sums of a dozen numbers up to 1,000. */
const ROUNDING = 1e-9;

describe("allot", () => {
  it("shares out all that there is and no more, and takes nothing from anybody", () => {
    holds(({ total, claims }) => {
      const parts = allot(total, claims);
      assert.ok(parts.every((part) => part >= 0));
      assert.ok(Math.abs(sum(parts) - total) < ROUNDING, `${sum(parts)} of ${total}`);
    });
  });

  it("gives no more than is wanted while another lacks something, and then the same", () => {
    holds(({ total, claims }) => {
      const parts = allot(total, claims);
      const wants = claims.map(({ want, floor = 0 }) => Math.max(want, floor));
      const lacking = parts.filter((part, i) => part < wants[i]! - ROUNDING);
      if (lacking.length === 0) return;
      const level = Math.max(...parts);
      assert.ok(lacking.every((part) => part === level));
      assert.ok(parts.every((part, i) => part <= wants[i]!));
    });
  });

  it("gives who wants more no less", () => {
    holds(({ total, claims, rng }) => {
      const i = rng.below(claims.length);
      const greedy = { ...claims[i]!, want: claims[i]!.want + rng.next() * 100 };
      const [before, after] = [allot(total, claims), allot(total, claims.with(i, greedy))];
      assert.ok(after[i]! >= before[i]! - ROUNDING, `${after[i]} after ${before[i]}`);
      assert.ok(after.every((part, at) => at === i || part <= before[at]! + ROUNDING));
    });
  });

  it("does not look at who comes first", () => {
    holds(({ total, claims, rng }) => {
      const order = claims.map((_, i) => i).sort(() => rng.next() - 0.5);
      const shuffled = allot(
        total,
        order.map((i) => claims[i]!),
      );
      const parts = allot(total, claims);
      assert.deepEqual(
        shuffled,
        order.map((i) => parts[i]),
      );
    });
  });

  it("gives a thousand equal claims a thousandth each, and an idle one its floor", () => {
    const busy = Array.from({ length: 1_000 }, () => ({ want: 50, floor: 0.1 }));
    assert.deepEqual(new Set(allot(1_000, busy)), new Set([1]));
    const parts = allot(1_000, [...busy, { want: 0, floor: 0.1 }]);
    assert.equal(parts.at(-1), 0.1);
    assert.ok(Math.abs(parts[0]! - 0.9999) < ROUNDING);
  });

  it("shares evenly what nobody wants, so that a sudden want finds something", () => {
    assert.deepEqual(allot(100, [{ want: 10 }, { want: 0 }, { want: 30 }]), [30, 20, 50]);
    assert.deepEqual(allot(10, [{ want: 0 }, { want: 0 }]), [5, 5]);
  });

  it("counts what is no number as nothing, and what is without bound as all", () => {
    const { POSITIVE_INFINITY: all, NaN: none } = Number;
    assert.deepEqual(allot(12, [{ want: all }, { want: none }, { want: 2 }]), [10, 0, 2]);
    assert.deepEqual(allot(-1, [{ want: 5, floor: 1 }]), [0]);
    assert.deepEqual(allot(none, [{ want: 5 }]), [0]);
    assert.deepEqual(allot(all, [{ want: all }, { want: 0 }]), [all, all]);
    assert.deepEqual(allot(5, []), []);
  });
});
