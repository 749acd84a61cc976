import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Rng, seededRng } from "#kernel/rng.ts";
import { ALGORITHMS, type BalancePolicy } from "#model/traffic_policy.ts";
import { type EndpointPicker, makePicker } from "#proxy/balance/endpoint_picker.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import type { PickAsk } from "#proxy/balance/reach.ts";
import { ejectUntil, localeOf } from "#test/kit/endpoints.ts";

type Algorithm = (typeof ALGORITHMS)[number];

const ANY: PickAsk = { tried: [], reach: "healthy", hash: undefined };
const HASHES = ["RingHash", "Maglev"] as const;

function pickerOf(
  algorithm: Algorithm,
  endpoints: readonly EndpointState[],
  rest: BalancePolicy = {},
  seed = 1,
): EndpointPicker {
  return makePicker({ algorithm, ...rest }, endpoints, { seed, zone: "a" });
}

/** Shares of requests that end at once, by endpoint. */
function shares(
  picker: EndpointPicker,
  endpoints: readonly EndpointState[],
  about: { ask?: PickAsk; count?: number; now?: number; rng?: Rng } = {},
): number[] {
  const { ask = ANY, count = 20_000, now = 0, rng = seededRng(7) } = about;
  const counts = new Map(endpoints.map((endpoint) => [endpoint, 0]));
  for (let i = 0; i < count; i++) {
    const picked = picker.pick(ask, now, rng)!;
    counts.set(picked, counts.get(picked)! + 1);
  }
  return endpoints.map((endpoint) => counts.get(endpoint)! / count);
}

function near(actual: number, expected: number, share: number, what = ""): void {
  assert.ok(Math.abs(actual - expected) <= share * expected, `${what} ${actual} for ${expected}`);
}

/** Weights as operators write them. */
function generated(rng: Rng): number[] {
  return Array.from({ length: 1 + rng.below(12) }, () => [0.5, 1, 1, 1, 2, 5][rng.below(6)]!);
}

for (const algorithm of ALGORITHMS) {
  describe(algorithm, () => {
    it("gives everybody a share like the weight, whatever the weights are", () => {
      const rng = seededRng(11);
      for (let round = 0; round < 25; round++) {
        const weights = generated(rng);
        const { endpoints } = localeOf(weights);
        const sum = weights.reduce((a, b) => a + b);
        const got = shares(pickerOf(algorithm, endpoints), endpoints);
        const margin = algorithm === "RingHash" ? 0.35 : 0.12;
        for (const [i, weight] of weights.entries()) {
          near(got[i]!, weight / sum, margin, `${weights} at ${i}:`);
        }
      }
    });

    it("takes nobody who is out, or has failed the request, while another one is left", () => {
      const rng = seededRng(5);
      for (let round = 0; round < 60; round++) {
        const { endpoints } = localeOf(generated(rng).concat(generated(rng)));
        for (const endpoint of endpoints) {
          const fate = rng.below(6);
          if (fate === 0) ejectUntil(endpoint, 10);
          if (fate === 1) endpoint.outlierUntil = 10;
          if (fate === 2) endpoint.verdict = { healthy: false, reason: "timeout" };
        }
        const tried = endpoints.filter(() => rng.below(5) === 0);
        const picker = pickerOf(algorithm, endpoints, { zoneAware: true, subsetSize: 3 });
        const wellLeft = endpoints.some((one) => !one.isOut(0) && !tried.includes(one));
        const anyLeft = endpoints.some((one) => !tried.includes(one));
        for (let i = 0; i < 50; i++) {
          const hash = rng.below(2) === 0 ? undefined : rng.below(2 ** 32);
          const picked = picker.pick({ tried, reach: "healthy", hash }, 0, rng);
          assert.equal(picked !== undefined, wellLeft);
          if (picked !== undefined) assert.ok(!picked.isOut(0) && !tried.includes(picked));
          const out = picker.pick({ tried, reach: "out", hash }, 0, rng);
          assert.equal(out !== undefined, anyLeft);
          assert.ok(out === undefined || !tried.includes(out));
          assert.ok(picker.pick({ tried, reach: "tried", hash }, 0, rng) !== undefined);
        }
      }
    });

    it("finds the one that is well among thousands that are not", () => {
      const { endpoints } = localeOf(new Array(3_000).fill(1));
      for (const endpoint of endpoints) ejectUntil(endpoint, 10);
      const well = endpoints[1_234]!;
      ejectUntil(well, 0);
      const picker = pickerOf(algorithm, endpoints);
      const rng = seededRng(1);
      for (let i = 0; i < 20; i++) assert.equal(picker.pick(ANY, 5, rng), well);
    });

    it("in a panic doubts checks and comparisons, not failures in a row", () => {
      const { endpoints } = localeOf([1, 1, 1, 1]);
      ejectUntil(endpoints[0]!, 10);
      endpoints[1]!.outlierUntil = 10;
      endpoints[2]!.verdict = { healthy: false, reason: "timeout" };
      const got = shares(pickerOf(algorithm, endpoints), endpoints, {
        ask: { ...ANY, reach: "panic" },
      });
      assert.equal(got[0], 0);
      for (const share of got.slice(1)) assert.ok(share > 0.2, `${got}`);
    });

    it("does the same again with the same seeds", () => {
      const run = (): string => {
        const { endpoints } = localeOf([1, 2, 3, 1, 1]);
        const picker = pickerOf(algorithm, endpoints, { slowStartMs: 1_000 });
        const rng = seededRng(3);
        const picks = Array.from({ length: 200 }, (_, i) => picker.pick(ANY, i * 10, rng)!);
        return picks.map(({ endpoint }) => endpoint.address).join();
      };
      assert.equal(run(), run());
    });

    it("has nobody where there is nobody", () => {
      assert.equal(pickerOf(algorithm, []).pick(ANY, 0, seededRng(1)), undefined);
    });

    it("stays while nothing changes, and goes when something does", () => {
      const { endpoints } = localeOf([1, 1, 1]);
      const policy = { algorithm };
      const first = makePicker(policy, endpoints, { seed: 1 });
      assert.equal(makePicker({ ...policy }, [...endpoints], { seed: 1 }, first), first);
      assert.notEqual(makePicker(policy, endpoints.slice(1), { seed: 1 }, first), first);
      assert.notEqual(
        makePicker({ ...policy, slowStartMs: 5 }, endpoints, { seed: 1 }, first),
        first,
      );
    });
  });
}

describe("slow start", () => {
  for (const algorithm of ["PeakEwma", "LeastRequest", "RoundRobin"] as const) {
    it(`lets ${algorithm} give more to a newcomer bit by bit, and to one that was ejected`, () => {
      for (const count of [2, 10]) {
        const { endpoints } = localeOf(new Array(count).fill(1));
        const picker = pickerOf(algorithm, endpoints, { slowStartMs: 10_000 });
        const [newcomer] = endpoints;
        newcomer!.warmFrom = 100_000;
        const rng = seededRng(9);
        const at = (now: number): number => shares(picker, endpoints, { now, rng })[0]!;
        const whole = 1 / count;
        for (const [now, part] of [
          [100_000, 0.1],
          [105_000, 0.5],
          [110_000, 1],
        ] as const) {
          near(at(now), (part * whole) / (part * whole + 1 - whole), 0.15, `${count} at ${now}:`);
        }
        ejectUntil(newcomer!, 121_000);
        newcomer!.eject(121_000, 120_000);
        assert.equal(at(120_500), 0);
        assert.ok(at(121_001) < 0.15 * whole * (count === 2 ? 1.3 : 1.1), `${at(121_001)}`);
      }
    });
  }
});

describe("P2C with weights", () => {
  it("leaves a heavy endpoint that is slow", () => {
    const { endpoints } = localeOf([3, 1]);
    const picker = pickerOf("PeakEwma", endpoints);
    endpoints[0]!.ewma.add(200, 0);
    endpoints[1]!.ewma.add(5, 0);
    assert.equal(shares(picker, endpoints)[0], 0);
  });

  it("gives chance no say in it: latencies that differ by noise alone leave shares as they are", () => {
    const { endpoints } = localeOf([3, 1]);
    const picker = pickerOf("PeakEwma", endpoints);
    const rng = seededRng(2);
    let heavy = 0;
    for (let i = 0; i < 20_000; i++) {
      for (const one of endpoints) {
        one.ewma.reset(i);
        one.ewma.add(5 + rng.next(), i);
      }
      if (picker.pick(ANY, i, rng) === endpoints[0]) heavy++;
    }
    near(heavy / 20_000, 0.75, 0.05);
  });

  it("keeps what runs in proportion under load", () => {
    for (const algorithm of ["PeakEwma", "LeastRequest"] as const) {
      const { endpoints } = localeOf([4, 2, 1, 1]);
      const picker = pickerOf(algorithm, endpoints);
      const rng = seededRng(4);
      for (let i = 0; i < 800; i++) picker.pick(ANY, 0, rng)!.inflight++;
      for (const [i, part] of [0.5, 0.25, 0.125, 0.125].entries()) {
        near(endpoints[i]!.inflight, 800 * part, 0.1, algorithm);
      }
    }
  });

  it("of requests alone does not run to who fails fast", () => {
    const { endpoints } = localeOf([1, 1, 1]);
    const picker = pickerOf("LeastRequest", endpoints);
    for (const endpoint of endpoints) endpoint.inflight = 2;
    const [poisoned] = endpoints;
    poisoned!.inflight = 0;
    poisoned!.penalize(1_000, 0);
    poisoned!.outlier = { failures: 4, ejections: 0, ejectedUntil: 0 };
    assert.equal(shares(picker, endpoints)[0], 0);
  });
});

describe("round robin", () => {
  it("goes round evenly: between two turns of one, everybody else had one", () => {
    const { endpoints } = localeOf(new Array(7).fill(1));
    const picker = pickerOf("RoundRobin", endpoints);
    const rng = seededRng(1);
    const picks = Array.from({ length: 70 }, () => picker.pick(ANY, 0, rng)!);
    for (let i = 0; i + 7 <= picks.length; i += 7) {
      assert.equal(new Set(picks.slice(i, i + 7)).size, 7);
    }
  });

  it("starts elsewhere in every worker, and after every change", () => {
    const firsts = new Set<EndpointState>();
    const { endpoints } = localeOf(new Array(50).fill(1));
    for (let seed = 0; seed < 200; seed++) {
      firsts.add(pickerOf("RoundRobin", endpoints, {}, seed).pick(ANY, 0, seededRng(1))!);
    }
    assert.ok(firsts.size > 40, `${firsts.size}`);
    const again = new Set<EndpointState>();
    let picker: EndpointPicker | undefined;
    for (let change = 0; change < 60; change++) {
      const some = change % 2 === 0 ? endpoints : endpoints.slice(0, 49);
      picker = makePicker({ algorithm: "RoundRobin" }, some, { seed: 1 }, picker);
      again.add(picker.pick(ANY, 0, seededRng(1))!);
    }
    assert.ok(again.size > 20, `${again.size}`);
  });
});

for (const algorithm of HASHES) {
  describe(`${algorithm}: a key`, () => {
    const keys = (count: number): number[] => {
      const rng = seededRng(21);
      return Array.from({ length: count }, () => rng.below(2 ** 32));
    };
    const owners = (endpoints: readonly EndpointState[], now = 0): (string | undefined)[] => {
      const picker = pickerOf(algorithm, endpoints);
      const rng = seededRng(1);
      return keys(20_000).map((hash) => picker.pick({ ...ANY, hash }, now, rng)?.endpoint.address);
    };
    const moved = (a: readonly unknown[], b: readonly unknown[]): number =>
      a.filter((one, i) => one !== b[i]).length / a.length;

    it("leads everywhere to the same endpoint, whatever the order in which they are told", () => {
      const { endpoints } = localeOf([1, 2, 1, 1, 3, 1]);
      assert.equal(moved(owners(endpoints), owners([...endpoints].reverse())), 0);
    });

    it("moves only with its endpoint, and comes back with it", () => {
      const { endpoints } = localeOf(new Array(20).fill(1));
      const before = owners(endpoints);
      const without = owners(endpoints.slice(1));
      const [gone] = endpoints;
      const own = before.filter((address) => address === gone!.endpoint.address).length;
      const others = moved(before, without) - own / before.length;
      assert.ok(others <= (algorithm === "Maglev" ? 0.05 : 0.001), `${others} more moved`);
      assert.ok(moved(before, without) <= 1.5 / 20 + 0.05);
      assert.equal(moved(before, owners(endpoints)), 0);
    });

    it("goes on to others while its endpoint is out, spread over them, and comes back", () => {
      const { endpoints } = localeOf(new Array(10).fill(1));
      const before = owners(endpoints);
      const [out] = endpoints;
      ejectUntil(out!, 10);
      const during = owners(endpoints);
      const takers = new Map<string | undefined, number>();
      for (const [i, owner] of before.entries()) {
        if (owner !== out!.endpoint.address) assert.equal(during[i], owner);
        else takers.set(during[i], (takers.get(during[i]) ?? 0) + 1);
      }
      assert.equal(takers.has(out!.endpoint.address), false);
      assert.equal(takers.size, 9, "all others help");
      assert.equal(moved(before, owners(endpoints, 11)), 0);
    });

    it("that is none is spread as if it were alone", () => {
      const { endpoints } = localeOf([1, 1]);
      near(shares(pickerOf(algorithm, endpoints), endpoints)[0]!, 0.5, 0.2);
    });
  });
}

describe("a zone", () => {
  it("that an endpoint is told to be in makes another picker, where zones matter", () => {
    const { endpoints } = localeOf([1, 1], ["a", "b"]);
    const aware = makePicker({ zoneAware: true }, endpoints, { zone: "a" });
    const other = makePicker({}, endpoints, { zone: "a" });
    const [one] = endpoints;
    one!.endpoint = { ...one!.endpoint, zone: "b" };
    assert.notEqual(makePicker({ zoneAware: true }, endpoints, { zone: "a" }, aware), aware);
    assert.equal(makePicker({}, endpoints, { zone: "a" }, other), other);
  });
});

describe("gateways of another cluster", () => {
  it("are chosen by the default, whatever the policy says of endpoints", () => {
    const { endpoints } = localeOf([1, 1], [], "child");
    const picker = makePicker({ algorithm: "Maglev" }, endpoints, {});
    endpoints[0]!.ewma.add(500, 0);
    assert.equal(shares(picker, endpoints, { ask: { ...ANY, hash: 5 } })[0], 0);
  });
});
