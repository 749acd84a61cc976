import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { canHaveOwnNet, runInOwnNet } from "#test/kit/own_net.ts";
import { ROOT } from "#test/kit/processes.ts";

const skip = canHaveOwnNet() ? false : "no network namespace of our own: that takes root";

describe("takeovers where the kernel moves queues", { skip, timeout: 240_000 }, () => {
  it("turn nobody away", async () => {
    const { code, out } = await runInOwnNet(
      join(ROOT, "test/e2e/takeover.test.ts"),
      "no client is turned away",
    );
    assert.equal(code, 0, out);
    for (const workers of [1, 2]) {
      assert.match(out, new RegExp(`✔ takes over .* turned away \\(${workers} worker`), out);
    }
  });
});
