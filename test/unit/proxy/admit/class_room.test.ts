import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Rng, seededRng } from "#kernel/rng.ts";
import { PRIORITIES, type Priority } from "#model/traffic_policy.ts";
import { ClassRoom } from "#proxy/admit/class_room.ts";

/** Requests per mean time of service that come of each class. */
type Load = Readonly<Record<Priority, number>>;

interface Outcome {
  readonly refused: Record<Priority, number>;
  readonly taken: Record<Priority, number>;
  /** Mean of the requests that ran. */
  readonly running: number;
  /** The most that ran at once. */
  readonly most: number;
}

/** A birth and death process: `bears` places, requests of exponential length, nobody waits. */
function simulate(
  bears: number,
  load: Load,
  events: number,
  rng: Rng,
  queue?: "is served" | "waits",
): Outcome {
  const room = new ClassRoom();
  const refused = { critical: 0, default: 0, sheddable: 0 };
  const taken = { critical: 0, default: 0, sheddable: 0 };
  const rate = load.critical + load.default + load.sheddable;
  let inflight = 0;
  let now = 0;
  let area = 0;
  let most = 0;
  for (let i = 0; i < events; i++) {
    // Where some wait, no more than `bears` are served at a time.
    const busy = queue === "waits" ? Math.min(inflight, bears) : inflight;
    const all = rate + busy;
    const span = -Math.log(1 - rng.next()) / all;
    area += span * busy;
    now += span;
    let draw = rng.next() * all;
    if (draw < busy) {
      inflight--;
      continue;
    }
    draw -= busy;
    const priority =
      draw < load.critical
        ? "critical"
        : draw < load.critical + load.default
          ? "default"
          : "sheddable";
    const ceiling = queue !== undefined ? room.queueCeiling(bears, priority, now * 20) : 0;
    const has = room.hasRoom(inflight, bears, priority, now * 20) || inflight < ceiling;
    if (has) most = Math.max(most, ++inflight);
    if (has || priority === "critical") room.took(priority, now * 20);
    (has ? taken : refused)[priority]++;
  }
  return { refused, taken, running: area / now, most };
}

describe("ClassRoom", () => {
  it("lets default traffic have everything where nothing is critical", () => {
    const { running } = simulate(
      50,
      { critical: 0, default: 150, sheddable: 0 },
      200_000,
      seededRng(1),
    );
    assert.ok(running > 0.97 * 50, `${running}`);
  });

  it("lets sheddable traffic have everything where there is nothing else", () => {
    const room = new ClassRoom();
    assert.ok(room.hasRoom(49, 50, "sheddable", 0));
  });

  for (const [bears, critical] of [
    [50, 2],
    [50, 10],
    [50, 25],
    [100, 30],
    [1_000, 300],
  ] as const) {
    it(`bears three times too much: ${critical} of ${bears} critical, none of them refused`, () => {
      const load = { critical, default: 2 * bears - critical, sheddable: bears };
      const { refused, running, most } = simulate(bears, load, 300_000, seededRng(2));
      assert.ok(running >= 0.9 * bears, `${running}`);
      assert.equal(refused.critical, 0);
      // What the reserve holds is not lent.
      const isHeld = critical <= bears / 25 || bears === 1_000;
      assert.ok(most <= bears * (isHeld ? 1.02 : 1.25), `${most}`);
      assert.ok(refused.default > 0 && refused.sheddable > refused.default / 2);
    });
  }

  it("loses no critical request of a small place under three times its load, and keeps it busy", () => {
    const load = { critical: 3, default: 18, sheddable: 9 };
    const { refused, running, most } = simulate(10, load, 300_000, seededRng(4), "waits");
    assert.equal(refused.critical, 0);
    assert.ok(running >= 0.9 * 10, `${running}`);
    assert.ok(most <= 2.6 * 10, `${most}`);
  });

  it("turns next to nobody away from a small place that is 82 % busy", () => {
    const load = { critical: 0, default: 0.82 * 12, sheddable: 0 };
    const share = (queue?: "is served" | "waits"): number => {
      const { refused, taken } = simulate(12, load, 300_000, seededRng(5), queue);
      return refused.default / (refused.default + taken.default);
    };
    assert.ok(share() > 0.1, "without a queue");
    assert.ok(share("is served") < 0.005, `${share("is served")}`);
    // Where it has no server more than it says.
    assert.ok(share("waits") < 0.03, `${share("waits")}`);
  });

  it("never takes what it would refuse to a class above", () => {
    const rng = seededRng(3);
    for (let i = 0; i < 2_000; i++) {
      const room = new ClassRoom();
      let now = 0;
      for (let n = rng.below(300); n > 0; n--) {
        now += rng.next() * 2_000;
        room.took(PRIORITIES[rng.below(3)]!, now);
      }
      now += rng.below(3) * 40_000;
      const bears = rng.next() < 0.2 ? rng.next() : rng.below(200);
      const ceilings = PRIORITIES.map((priority) => room.ceiling(bears, priority, now));
      assert.ok(ceilings[0]! >= ceilings[1]! && ceilings[1]! >= ceilings[2]!, `${ceilings}`);
      assert.ok(ceilings[2]! >= 0 && ceilings[0]! <= bears * 1.25, `${ceilings} of ${bears}`);
      assert.equal(room.hasRoom(0, bears, "sheddable", now), bears > 0);
    }
  });

  it("keeps something for a critical request that is seldom, and forgets one that does not come again", () => {
    const room = new ClassRoom();
    room.took("critical", 0);
    for (let i = 0; i < 5_000; i++) room.took("default", i);
    assert.ok(!room.hasRoom(49, 50, "default", 5_000));
    assert.ok(room.hasRoom(49, 50, "critical", 5_000));
    assert.ok(room.hasRoom(49, 50, "default", 61_000));
  });
});
