import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { priorityOf } from "#proxy/admit/priority.ts";

describe("priorityOf", () => {
  const nothing = { priority: undefined };
  const rules = { class: "sheddable", header: "x-class" } as const;

  it("is what the first hop found, whatever the client says further on", () => {
    assert.equal(priorityOf(rules, { priority: "critical" }, ["x-class", "default"]), "critical");
  });

  it("is what the client says, if it is one of the words in the header that the policy names", () => {
    assert.equal(priorityOf(rules, nothing, ["x-class", "critical"]), "critical");
    for (const word of ["Critical", "urgent", "", "critical, critical"]) {
      assert.equal(priorityOf(rules, nothing, ["x-class", word]), "sheddable");
    }
    assert.equal(priorityOf({ class: "sheddable" }, nothing, ["x-class", "critical"]), "sheddable");
  });

  it("is the policy's, or default", () => {
    assert.equal(priorityOf(rules, nothing, []), "sheddable");
    assert.equal(priorityOf({ header: "x-class" }, nothing, []), "default");
    assert.equal(priorityOf(undefined, nothing, ["x-class", "critical"]), "default");
  });
});
