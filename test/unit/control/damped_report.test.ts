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
    assert.deepEqual(said, [0, 1, 10, 10, 10, 12.6, 12.6, 8, 0, 0]);
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
