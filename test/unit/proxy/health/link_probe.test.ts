import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Clock } from "#kernel/clock.ts";
import { seededRng } from "#kernel/rng.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import type { ClusterName } from "#model/names.ts";
import { LinkProber } from "#proxy/health/link_probe.ts";
import type { Links } from "#proxy/upstream/upstreams.ts";

const CLUSTER = "eu.acme.mesh" as ClusterName;
const LINK = { cluster: CLUSTER, endpoint: { address: "10.0.0.1", port: 1, weight: 1 } };

/** A link that answers after `rttMs`, refuses, or swallows; and what the prober made of it. */
function watched() {
  const clock = new VirtualClock();
  const stall = { ms: 0 };
  const stalling: Clock = {
    now: () => clock.now() + stall.ms,
    wall: () => clock.wall(),
    after: (ms, fn) => clock.after(ms, fn),
    every: (ms, fn) => clock.every(ms, fn),
  };
  const link = { rttMs: 10, mode: "answers" as "answers" | "refuses" | "swallows" };
  const seen = { readings: [] as Array<number | undefined>, severed: [] as number[], open: 0 };
  const links: Links = {
    ping: (_endpoint, done) => {
      seen.open++;
      const end = (rttMs: number | undefined): void => {
        seen.open--;
        done(rttMs);
      };
      if (link.mode === "answers") clock.after(link.rttMs, () => end(link.rttMs));
      else if (link.mode === "refuses") clock.after(1, () => end(undefined));
      else clock.after(60_000, () => end(1));
    },
    sever: () => void seen.severed.push(clock.now()),
  };
  const prober = new LinkProber({
    clock: stalling,
    rng: seededRng(1),
    links,
    onReading: (_link, rttMs) => seen.readings.push(rttMs),
  });
  prober.watch([LINK]);
  return { clock, link, seen, prober, stall };
}

describe("link prober", () => {
  it("measures the round trip again and again", () => {
    const { clock, seen } = watched();
    clock.advance(5_000);
    assert.ok(seen.readings.length >= 7, String(seen.readings.length));
    assert.ok(seen.readings.every((rtt) => rtt === 10));
    assert.deepEqual(seen.severed, []);
  });

  it("fails what runs on a link that swallows everything, once, within 2.6 s", () => {
    const { clock, link, seen } = watched();
    clock.advance(2_000);
    link.mode = "swallows";
    clock.advance(10_000);
    assert.equal(seen.severed.length, 1);
    assert.ok(seen.severed[0]! <= 2_000 + 2_600, String(seen.severed[0]));
    assert.equal(seen.readings.at(-1), undefined);
  });

  it("waits between probes that are refused, as between those that are answered", () => {
    const { clock, link, seen } = watched();
    link.mode = "refuses";
    clock.advance(5_000);
    assert.ok(seen.readings.length <= 13, String(seen.readings.length));
  });

  it("lets one lost probe pass", () => {
    const { clock, link, seen } = watched();
    clock.advance(2_000);
    link.mode = "refuses";
    clock.advance(450);
    link.mode = "answers";
    clock.advance(3_000);
    assert.deepEqual(seen.severed, []);
  });

  it("takes a link up again with its first answer, and severs it anew when it fails anew", () => {
    const { clock, link, seen } = watched();
    link.mode = "refuses";
    clock.advance(3_000);
    link.mode = "answers";
    clock.advance(2_000);
    assert.equal(seen.readings.at(-1), 10);
    link.mode = "swallows";
    clock.advance(5_000);
    assert.equal(seen.severed.length, 2);
  });

  it("does not blame the link when the process itself stood still", () => {
    const { clock, link, seen, stall } = watched();
    clock.advance(2_000);
    for (let i = 0; i < 5; i++) {
      // Its timers come late, before the answers that have been there all the time.
      link.rttMs = 1_001;
      while (seen.open === 0) clock.advance(1);
      link.rttMs = 10;
      stall.ms += 3_000;
      clock.advance(1_200);
    }
    assert.deepEqual(seen.severed, []);
    assert.ok(!seen.readings.includes(undefined));
  });

  it("hears nothing more of what it watches no longer", () => {
    const { clock, seen, prober } = watched();
    clock.advance(600);
    while (seen.open === 0) clock.advance(1);
    prober.watch([]);
    const { length } = seen.readings;
    clock.advance(10_000);
    assert.equal(seen.readings.length, length);
  });
});
