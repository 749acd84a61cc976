import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { damped } from "#control/api/damped_report.ts";
import { SnapshotHub } from "#control/api/snapshot_hub.ts";
import type { ServiceReport } from "#model/report.ts";

const report = (demand: number, more: Partial<ServiceReport> = {}): ServiceReport => {
  return { service: "menu.shop", healthy: 1, inflight: 0, demand, ...more };
};

describe("a load that gateways report", () => {
  it("is what was said last until it moves by a step, up or down", () => {
    const said: number[] = [];
    let before: ServiceReport[] = [];
    for (const demand of [0.01, 0.5, 10, 12, 9, 12.6, 8.1, 8, 0.05, 0]) {
      before = damped([report(demand)], before);
      said.push(before[0]!.demand!);
    }
    assert.deepEqual(said, [0, 1, 10, 10, 10, 12.6, 12.6, 8, 1, 0]);
  });

  it("strays by chance the further the less there is of it, and that is no news", () => {
    const said = (perSecond: number, then: number): number => {
      const [first] = damped([report(1, { arrivals: perSecond })], []);
      return damped([report(1, { arrivals: then })], [first!])[0]!.arrivals!;
    };
    // Averaged over a second, 4 requests/s have a deviation of 1.4, 200 one of 10.
    assert.deepEqual([said(4, 8), said(4, 20), said(200, 240), said(200, 260)], [4, 20, 200, 260]);
  });

  it("has a median that holds its step until it has left it by a quarter of one", () => {
    const said: number[] = [];
    let before: ServiceReport[] = [];
    for (const p50Ms of [5, 5.4, 5.5, 4.3, 6, 6.1]) {
      before = damped([report(1, { p50Ms })], before);
      said.push(before[0]!.p50Ms!);
    }
    assert.deepEqual(said, [4.77, 4.77, 4.77, 4.77, 5.96, 5.96]);
  });

  it("says nothing of what a gateway does not say", () => {
    const plain = { service: "menu.shop", healthy: 1, inflight: 3 };
    assert.deepEqual(damped([plain], [report(5)]), [plain]);
  });

  it("is news only then, and never because of what runs just now", () => {
    let news = 0;
    const hub = new SnapshotHub(() => news++);
    const gateway = hub.subscribe("g", "gateway", () => {});
    for (const inflight of [1, 50])
      gateway.report([report(10 + inflight / 100, { inflight })], undefined);
    assert.equal(news, 1);
    for (const arrivals of [100, 110, 200]) gateway.report([report(10, { arrivals })], undefined);
    assert.equal(news, 3);
    assert.deepEqual(hub.gatewayReports()[0]![0]!.arrivals, 200);
  });
});
