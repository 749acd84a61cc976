import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ServiceName } from "#model/names.ts";
import { WorkerChecks } from "#proxy/app/worker_checks.ts";
import type { ToWorker } from "#proxy/app/worker_messages.ts";
import { snapshotOf } from "#test/kit/gateway.ts";

const SERVICE = "a.default" as ServiceName;

/** A worker that keeps what it is told. */
function worker() {
  const told: string[] = [];
  return {
    told,
    tell(message: ToWorker): void {
      if (message.kind !== "verdicts") told.push(message.kind);
      else
        for (const { endpoint, healthy } of message.verdicts) told.push(`${endpoint} ${healthy}`);
    },
  };
}

const verdict = (endpoint: string, healthy: boolean) => ({
  ...{ service: SERVICE, endpoint, healthy, reason: "" },
});

const snapshot = (ports: readonly number[], check = "healthCheck: { tcp: {} }") =>
  snapshotOf(`apiVersion: espalier.dev/v1alpha1
kind: Service
metadata: { name: a }
spec:
  ports: [{ port: 80 }]
  endpoints: [${ports.map((port) => `{ address: 10.0.0.1, port: ${port} }`).join(", ")}]
  ${check}
`);

describe("workers and health checks", () => {
  it("one of them checks, and the others hear of it", () => {
    const checks = new WorkerChecks();
    const [one, two] = [worker(), worker()];
    checks.follow(snapshot([1, 2]));
    checks.given(one);
    checks.given(two);
    assert.deepEqual([one.told, two.told], [["check"], []]);
    checks.heard(one, verdict("@10.0.0.1:1", false));
    assert.deepEqual([one.told, two.told], [["check"], ["@10.0.0.1:1 false"]]);
  });

  it("one that comes late hears what is known, once it has endpoints to know it of", () => {
    const checks = new WorkerChecks();
    const [one, late] = [worker(), worker()];
    checks.follow(snapshot([1, 2]));
    checks.given(one);
    checks.heard(one, verdict("@10.0.0.1:1", false));
    checks.heard(one, verdict("@10.0.0.1:2", true));
    checks.heard(one, verdict("@10.0.0.1:1", true));
    checks.given(late);
    assert.deepEqual(late.told, ["@10.0.0.1:1 true", "@10.0.0.1:2 true"]);
  });

  it("one that comes late is not told how old data was when it was asked for", () => {
    const checks = new WorkerChecks();
    const staleness: unknown[] = [];
    const late = {
      tell(message: ToWorker): void {
        if (message.kind !== "verdicts") return;
        staleness.push(...message.verdicts.map(({ stalenessMs }) => stalenessMs));
      },
    };
    const one = worker();
    checks.follow(snapshot([1]));
    checks.given(one);
    const said = { ...verdict("@10.0.0.1:1", true), stalenessMs: 700 };
    checks.heard(one, said);
    checks.given(late);
    checks.heard(one, said);
    assert.deepEqual(staleness, [undefined, 700]);
  });

  it("what a snapshot names no more, or does not check any more, is forgotten", () => {
    const checks = new WorkerChecks();
    const [one, late, later] = [worker(), worker(), worker()];
    checks.follow(snapshot([1, 2]));
    checks.given(one);
    for (const port of [1, 2]) checks.heard(one, verdict(`@10.0.0.1:${port}`, false));
    checks.follow(snapshot([2, 3]));
    checks.given(late);
    assert.deepEqual(late.told, ["@10.0.0.1:2 false"]);
    checks.follow(snapshot([2], ""));
    checks.given(later);
    assert.deepEqual(later.told, []);
  });

  it("another one checks when the one that did has ended, from what is known", () => {
    const checks = new WorkerChecks();
    const [one, two, three] = [worker(), worker(), worker()];
    checks.follow(snapshot([1]));
    checks.given(one);
    checks.given(two);
    checks.heard(one, verdict("@10.0.0.1:1", false));
    checks.ended(one);
    assert.deepEqual(two.told, ["@10.0.0.1:1 false", "check"]);
    checks.heard(one, verdict("@10.0.0.1:1", true));
    checks.given(three);
    assert.deepEqual(three.told, ["@10.0.0.1:1 false"], "who is gone is not heard");
    checks.ended(three);
    checks.ended(two);
    const four = worker();
    checks.given(four);
    assert.deepEqual(four.told, ["@10.0.0.1:1 false", "check"], "also when there was nobody");
  });
});
