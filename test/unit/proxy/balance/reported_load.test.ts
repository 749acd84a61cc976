import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "#kernel/rng.ts";
import { type EndpointPicker, makePicker } from "#proxy/balance/endpoint_picker.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import { localeOf } from "#test/kit/endpoints.ts";

const REST = { eps: 0, stalenessMs: undefined };
const S = 1_000;

/** What an endpoint says of itself. */
interface Word {
  readonly utilization: number;
  readonly rps: number;
  readonly eps?: number;
}

interface Run {
  readonly picker: EndpointPicker;
  readonly endpoints: readonly EndpointState[];
  readonly now: number;
}

function begin(algorithm: "RoundRobin" | "LeastRequest" | "PeakEwma", count: number): Run {
  const { endpoints } = localeOf(new Array(count).fill(1));
  return { picker: makePicker({ algorithm }, endpoints, { seed: 1 }), endpoints, now: 0 };
}

/** 400 requests in each of `seconds`, with reports by `say`. @returns shares in the last second. */
function run(from: Run, seconds: number, say: (at: number) => Word | undefined): number[] & Run {
  const { picker, endpoints } = from;
  const rng = seededRng(6);
  let counts = endpoints.map(() => 0);
  let now = from.now;
  for (let second = 0; second < seconds; second++) {
    counts = endpoints.map(() => 0);
    for (let i = 0; i < 400; i++, now += S / 400) {
      const one = picker.pick({ tried: [], reach: "healthy", hash: undefined }, now, rng)!;
      const at = endpoints.indexOf(one);
      counts[at]!++;
      const word = say(at);
      if (word !== undefined) one.report({ ...REST, ...word }, now);
    }
  }
  return Object.assign(
    counts.map((count) => count / 400),
    { picker, endpoints, now },
  );
}

const equal = (): Word => ({ utilization: 0.5, rps: 100 });

for (const algorithm of ["RoundRobin", "LeastRequest"] as const) {
  describe(`${algorithm} by load reports`, () => {
    it("gives a loaded endpoint less, soon after the blackout of ten seconds", () => {
      const say = (at: number): Word => ({ utilization: at === 0 ? 0.9 : 0.3, rps: 100 });
      const early = run(begin(algorithm, 4), 9, say);
      assert.ok(early[0]! > 0.2, `${early}`);
      const late = run(early, 3, say);
      // A third of what the others have.
      assert.ok(late[0]! > 0.06 && late[0]! < 0.14, `${late}`);
    });

    it("gives one that boasts twice the others' share at most, and slowly", () => {
      const boast = (at: number): Word => (at === 0 ? { utilization: 0.001, rps: 1e9 } : equal());
      const before = run(begin(algorithm, 4), 12, equal);
      const soon = run(before, 2, boast);
      assert.ok(soon[0]! < 0.33, `${soon}`);
      const late = run(soon, 60, boast);
      assert.ok(late[0]! > 0.35 && late[0]! < 0.45, `${late}`);
      for (const share of late.slice(1)) assert.ok(share > 0.17, `${late}`);
    });

    it("counts errors as load", () => {
      const say = (at: number): Word => ({ ...equal(), eps: at === 0 ? 50 : 0 });
      const shares = run(begin(algorithm, 4), 14, say);
      // 100 / (0.5 + 0.5) against 100 / 0.5.
      assert.ok(shares[0]! > 0.1 && shares[0]! < 0.19, `${shares}`);
    });

    it("leaves something to the most loaded, or it could never say that it is better", () => {
      const hard = (at: number): Word => ({ utilization: at === 0 ? 1e6 : 0.5, rps: 100 });
      const low = run(begin(algorithm, 4), 20, hard);
      assert.ok(low[0]! > 0 && low[0]! < 0.05, `${low}`);
      const back = run(low, 15, equal);
      assert.ok(back[0]! > 0.2, `${back}`);
    });

    it("forgets reports after three minutes", () => {
      const say = (at: number): Word => ({ utilization: at === 0 ? 0.9 : 0.3, rps: 100 });
      const told = run(begin(algorithm, 4), 14, say);
      const silent = run({ ...told, now: told.now + 181 * S }, 15, () => undefined);
      assert.ok(silent[0]! > 0.2, `${silent}`);
    });

    it("comes to no harm by numbers at the end of what there is", () => {
      for (const word of [
        { utilization: 1e-320, rps: 100 },
        { utilization: 0.5, rps: 1e-320, eps: 1e12 },
      ]) {
        const told = run(begin(algorithm, 4), 14, () => word);
        for (const share of told) assert.ok(share > 0.1, `${told}`);
        for (const { reported } of told.endpoints) assert.ok(reported!.share > 0);
        // They may tell the truth later.
        const say = (at: number): Word => ({ utilization: at === 0 ? 0.9 : 0.3, rps: 100 });
        const late = run(told, 14, say);
        assert.ok(late[0]! > 0.06 && late[0]! < 0.14, `${late}`);
      }
    });

    it("takes no notice of reports that say too little", () => {
      for (const word of [
        { utilization: 0, rps: 100 },
        { utilization: 0.9, rps: 0 },
      ]) {
        const shares = run(begin(algorithm, 4), 14, (at) => (at === 0 ? word : equal()));
        assert.ok(shares[0]! > 0.2, `${shares}`);
      }
    });
  });
}

describe("PeakEwma", () => {
  it("goes by what it measures, not by reports", () => {
    const shares = run(begin("PeakEwma", 4), 14, (at) => ({
      utilization: at === 0 ? 0.9 : 0.1,
      rps: 100,
    }));
    assert.ok(shares[0]! > 0.2, `${shares}`);
  });
});

describe("what an endpoint bears, by its reports", () => {
  const report = (one: EndpointState, utilization: number, now = 0): void =>
    one.report({ utilization, rps: 0, ...REST }, now);

  it("is what runs over its utilization, and only told where it is busy", () => {
    const [one] = localeOf([1]).endpoints;
    one!.inflight = 30;
    one!.praise(5, 0);
    report(one!, 0.4);
    assert.equal(one!.reported?.capacity(0), undefined);
    report(one!, 0.6);
    assert.equal(one!.reported?.capacity(0), 50);
    assert.equal(one!.reported?.capacity(181 * S), undefined, "for three minutes");
  });

  it("is at most twice what it has borne, whatever it says, and grows slowly", () => {
    const [one] = localeOf([1]).endpoints;
    one!.inflight = 9;
    one!.praise(5, 0);
    one!.inflight = 1_000;
    report(one!, 0.5);
    assert.equal(one!.reported?.capacity(0), 20);
    one!.inflight = 10;
    report(one!, 2);
    assert.equal(one!.reported?.capacity(0), 12.5);
    one!.inflight = 20;
    report(one!, 1);
    assert.ok(one!.reported!.capacity(0)! < 14);
  });
});

describe("how old a replica's data is", () => {
  it("is what it said, and older since", () => {
    const [one] = localeOf([1]).endpoints;
    assert.equal(one!.reported?.stalenessMs(0), undefined);
    one!.report({ utilization: 0, rps: 0, eps: 0, stalenessMs: 300 }, 1_000);
    one!.report({ utilization: 0.2, rps: 0, ...REST }, 1_500);
    assert.equal(one!.reported?.stalenessMs(2_000), 1_300);
  });
});
