import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Refusals } from "#control/app/refusals.ts";
import { MemoryLogger } from "#kernel/log.ts";
import type { ServiceName } from "#model/names.ts";
import type { PolicyOrigin, Snapshot } from "#model/snapshot.ts";
import { simpleSnapshot } from "#test/kit/proxy.ts";

const [STORE, CORE] = ["s1.eu.acme.mesh", "core.acme.mesh"];

/** What a gateway is told, of which so much is refused. */
function snapshot(
  services: number,
  ...refused: ReadonlyArray<readonly [string, string]>
): Snapshot {
  const base = simpleSnapshot([1]);
  const policyOrigins = refused.map(([cluster, what]): PolicyOrigin => {
    return { cluster, policy: "shop/all", fields: [], refused: [what] };
  });
  const all = Array.from({ length: services }, (_, i) => {
    return { ...base.services[0]!, name: `s${i}.shop` as ServiceName, policyOrigins };
  });
  return { ...base, services: all };
}

describe("what policies say and what does not hold", () => {
  it("is warned of once when it begins, and again when it has been put right meanwhile", () => {
    const log = new MemoryLogger();
    const refusals = new Refusals(log);
    const said = (...given: Parameters<typeof snapshot>): unknown[] => {
      const from = log.lines.length;
      refusals.look(snapshot(...given));
      return log.lines.slice(from).map(({ level, message, fields }) => {
        return [level, message, fields["from"], fields["what"], fields["services"]];
      });
    };
    const looser = [STORE, "limits.requests: 9 is looser than 5"] as const;
    const fence = [CORE, "places.mustStayIn: us excludes eu"] as const;
    const line = (of: readonly [string, string], services: number) => {
      return ["warn", "policy not followed", ...of, services];
    };
    assert.deepEqual(said(1), []);
    assert.deepEqual(said(500, looser), [line(looser, 500)]);
    assert.deepEqual(said(500, looser), []);
    assert.deepEqual(said(2, looser, fence), [line(fence, 2)]);
    assert.deepEqual(said(2, fence), []);
    assert.deepEqual(said(2, looser), [line(looser, 2)]);
  });
});
