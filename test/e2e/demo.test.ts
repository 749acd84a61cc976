import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { espalier } from "#test/kit/processes.ts";

describe("espalier demo", { timeout: 120_000 }, () => {
  it("keeps its promises for one round", async () => {
    const { code, out, err } = await espalier("demo", "--once", "--json");
    assert.equal(code, 0, out + err);
    const summary = JSON.parse(out);
    assert.deepEqual(summary.errors, []);
    assert.ok(
      summary.acts.length >= 6 && summary.acts.every(({ kept }: { kept: boolean }) => kept),
    );
    assert.match(err, /curl -H 'Host: menu\.shop\.svc\.acme\.mesh' http:\/\/127\.0\.0\.1:\d+\//);
  });
});
