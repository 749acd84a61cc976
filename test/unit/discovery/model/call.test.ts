import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type CallMatch, callOf, callPath } from "#model/call.ts";
import { parsePattern } from "#model/pattern.ts";

describe("calls as paths", () => {
  const cases: ReadonlyArray<readonly [CallMatch, string]> = [
    [{ type: "Exact", service: "pack.Shop", method: "Buy" }, "Exact /pack.Shop/Buy"],
    [{ type: "Exact", service: "pack.Shop" }, "PathPrefix /pack.Shop"],
    [{ type: "Exact" }, "PathPrefix /"],
    [{ type: "Exact", method: "Buy" }, "RegularExpression /(?:.+)/(?:Buy)"],
    [
      { type: "RegularExpression", service: "a|b", method: "(?:c)/(?:d)" },
      "RegularExpression /(?:a|b)/(?:(?:c)/(?:d))",
    ],
    [{ type: "RegularExpression", service: "a[/]b" }, "RegularExpression /(?:a[/]b)/(?:.+)"],
  ];
  for (const [call, path] of cases) {
    it(`are written and read again: ${path}`, () => {
      const written = callPath(call);
      assert.equal(`${written.type} ${written.value}`, path);
      const read = callOf(written);
      assert.deepEqual([read?.service, read?.method], [call.service, call.method]);
      if (written.type === "RegularExpression") assert.ok(parsePattern(written.value).ok);
    });
  }

  it("are not made of other paths", () => {
    const no = ["/", "/a", "/a/"].map((value) => ({ type: "Exact" as const, value }));
    // The last is an expression as a whole, its parts are not.
    const broken = ["/a/b", "/(?:a)/b", "/(?:a)|(?:b)/(?:c)", "/(?:(a)/(?:b))"];
    const patterns = broken.map((value) => ({ type: "RegularExpression" as const, value }));
    for (const path of [...no, ...patterns]) assert.equal(callOf(path), undefined, path.value);
  });
});
