import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ROOT } from "#test/kit/processes.ts";
import { importLadder, lowFolders, noCycles, noDeadFiles, pureFiles } from "#test/tidy/imports.ts";
import { type Rule, readTree, type SourceFile } from "#test/tidy/source.ts";
import { banned, documented, fileNames, lengths, links, noDeadExports } from "#test/tidy/text.ts";

/** Each house rule with a case that it must catch: a rule that catches nothing holds nothing. */
const RULES: ReadonlyArray<{ name: string; rule: Rule; bad: readonly SourceFile[] }> = [
  {
    name: "imports point one way",
    rule: importLadder,
    bad: [{ path: "proxy/a.ts", text: 'import { x } from "#control/b.ts";\n' }],
  },
  {
    name: "what codecs share knows no codec",
    rule: lowFolders,
    bad: [{ path: "proxy/socket/a.ts", text: 'import { x } from "#proxy/http1/b.ts";\n' }],
  },
  {
    name: "imports have stable names",
    rule: importLadder,
    bad: [{ path: "proxy/a.ts", text: 'import { x } from "./b.ts";\n' }],
  },
  {
    name: "no cycles",
    rule: noCycles,
    bad: [
      { path: "kernel/a.ts", text: 'import { b } from "#kernel/b.ts";\n' },
      { path: "kernel/b.ts", text: 'import { a } from "#kernel/a.ts";\n' },
    ],
  },
  {
    name: "pure files import no Node module",
    rule: pureFiles,
    bad: [{ path: "proxy/balance/a.ts", text: 'import { readFileSync } from "node:fs";\n' }],
  },
  {
    name: "no dead files",
    rule: noDeadFiles,
    bad: [{ path: "kernel/forgotten.ts", text: "export const a = 1;\n" }],
  },
  {
    name: "no ambient time",
    rule: banned,
    bad: [{ path: "proxy/a.ts", text: "const now = Date.now();\n" }],
  },
  {
    name: "no ambient chance",
    rule: banned,
    bad: [{ path: "proxy/a.ts", text: "const r = Math.random();\n" }],
  },
  {
    name: "no timers but the clock's",
    rule: banned,
    bad: [{ path: "control/a.ts", text: "setTimeout(f, 1);\n" }],
  },
  { name: "no enum", rule: banned, bad: [{ path: "kernel/a.ts", text: "export enum A { B }\n" }] },
  { name: "no any", rule: banned, bad: [{ path: "kernel/a.ts", text: "let a: any;\n" }] },
  {
    name: "no promises in comments",
    rule: banned,
    bad: [{ path: "kernel/a.ts", text: "// TODO later\n" }],
  },
  {
    name: "names say what a file does",
    rule: fileNames,
    bad: [{ path: "kernel/utils.ts", text: "" }],
  },
  {
    name: "files are short",
    rule: lengths,
    bad: [{ path: "kernel/long.ts", text: "a;\n".repeat(700) }],
  },
  {
    name: "exports say what they mean",
    rule: documented,
    bad: [{ path: "kernel/a.ts", text: "export function f(): void {}\n" }],
  },
  {
    name: "nothing exported is dead",
    rule: noDeadExports,
    bad: [{ path: "kernel/a.ts", text: "/** Says nothing. */\nexport function f(): void {}\n" }],
  },
  {
    name: "links lead somewhere",
    rule: links,
    bad: [{ path: "README.md", text: "see [it](docs/nowhere.md)\n" }],
  },
];

describe("house rules", () => {
  const code = readTree(ROOT, [".ts"]);
  const all = readTree(ROOT, [""]);
  for (const { name, rule, bad } of RULES) {
    it(name, () => {
      assert.notDeepEqual(rule(bad), [], "the rule does not catch its own bad case");
      const found = rule(rule === links ? all : code);
      const lines = found.map(({ path, line, says }) => `${path}:${line}: ${says}`);
      assert.deepEqual(lines, []);
    });
  }

  it("takes whatever stands in a folder of bench for something that is run", () => {
    assert.deepEqual(noDeadFiles([{ path: "bench/micro/http2.ts", text: "" }]), []);
    assert.notDeepEqual(noDeadFiles([{ path: "bench/micro/parts/http2.ts", text: "" }]), []);
  });
});
