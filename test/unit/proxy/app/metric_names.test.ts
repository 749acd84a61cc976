import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";

const ROOT = join(import.meta.dirname, "../../../..");
const NAME = "(?:espalier|process|nodejs)_[a-z0-9_]+";

function textOf(pattern: string): string {
  const files = globSync(pattern, { cwd: ROOT });
  assert.notEqual(files.length, 0, pattern);
  return files.map((file) => readFileSync(join(ROOT, file), "utf8")).join("\n");
}

function namesIn(text: string, pattern: string): ReadonlySet<string> {
  return new Set(Array.from(text.matchAll(new RegExp(pattern, "g")), ([, name]) => name!));
}

describe("names of metrics", () => {
  const code = textOf("{proxy,control,kernel,cli}/**/*.ts");
  const registered = namesIn(code, `["\`](${NAME})["\`]`);
  const operating = textOf("docs/operating.md");

  it("that the docs say exist", () => {
    const told = namesIn(textOf("docs/**/*.md"), `\`(${NAME})`);
    assert.ok(told.size > 60, `${told.size} found`);
    assert.deepEqual([...told.difference(registered)], []);
  });

  it("that exist are in docs/operating.md", () => {
    const told = namesIn(operating, `\`(${NAME})`);
    assert.deepEqual([...registered.difference(told)], []);
  });
});
