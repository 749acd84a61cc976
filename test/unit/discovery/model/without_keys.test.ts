import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { it } from "node:test";
import { withoutKeys } from "#model/without_keys.ts";
import { simpleSnapshot } from "#test/kit/proxy.ts";

it("a snapshot that is shown has no key of sessions in it, or whoever sees it could make them", () => {
  const sessionKey = randomBytes(32).toString("base64");
  const shown = withoutKeys({ ...simpleSnapshot([1]), sessionKey });
  assert.equal(shown.sessionKey, "(not shown)");
  assert.ok(!JSON.stringify(shown).includes(sessionKey));
  assert.equal(withoutKeys(simpleSnapshot([1])).sessionKey, undefined);
});
