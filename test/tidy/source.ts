import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** A file of the project, as the rules see it. */
export interface SourceFile {
  /** Relative to the root, with `/`. */
  readonly path: string;
  readonly text: string;
}

/** What a rule found, and what to do instead. */
export interface Finding {
  readonly path: string;
  readonly line: number;
  readonly says: string;
}

export type Rule = (files: readonly SourceFile[]) => Finding[];

const SKIPPED = new Set(["node_modules", ".git", ".tools", "dist"]);

/** Every file under `root` whose name ends so. */
export function readTree(root: string, endings: readonly string[], at = ""): SourceFile[] {
  const files: SourceFile[] = [];
  for (const entry of readdirSync(join(root, at), { withFileTypes: true })) {
    const path = at === "" ? entry.name : `${at}/${entry.name}`;
    if (entry.isDirectory()) {
      if (!SKIPPED.has(entry.name)) files.push(...readTree(root, endings, path));
    } else if (endings.some((ending) => path.endsWith(ending))) {
      files.push({ path, text: readFileSync(join(root, path), "utf8") });
    }
  }
  return files;
}

/** 1-based line of a character. */
export function lineAt(text: string, index: number): number {
  let line = 1;
  for (let i = text.indexOf("\n"); i >= 0 && i < index; i = text.indexOf("\n", i + 1)) line++;
  return line;
}

/** The same text with comments and the content of strings blanked, so that rules see code only. */
export function codeOf(text: string): string {
  return text.replace(
    /\/\*[\s\S]*?\*\/|(?<!:)\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'/g,
    (found) => found.replace(/[^\n"']/g, " "),
  );
}

export interface Import {
  /** As written: `#kernel/clock.ts`, `node:net`, `zod`. */
  readonly from: string;
  readonly typeOnly: boolean;
  readonly line: number;
}

export function importsOf(text: string): Import[] {
  const found = text.matchAll(/^(?:import|export)\s+(type\s)?[^;]*?from\s+"([^"]+)"/gms);
  const bare = text.matchAll(/^import\s+"([^"]+)"/gm);
  const lazy = text.matchAll(/\bimport\("([^"]+)"\)/g);
  return [
    ...Array.from(found, (m) => ({
      from: m[2]!,
      typeOnly: m[1] !== undefined,
      line: lineAt(text, m.index),
    })),
    ...Array.from(lazy, (m) => ({ from: m[1]!, typeOnly: false, line: lineAt(text, m.index) })),
    ...Array.from(bare, (m) => ({ from: m[1]!, typeOnly: false, line: lineAt(text, m.index) })),
  ];
}

const FOLDERS: Readonly<Record<string, string>> = { "#model/": "discovery/model/" };

/** Path of an imported file of ours; undefined for packages. */
export function pathOfImport(from: string): string | undefined {
  if (!from.startsWith("#")) return undefined;
  for (const [alias, folder] of Object.entries(FOLDERS)) {
    if (from.startsWith(alias)) return folder + from.slice(alias.length);
  }
  return from.slice(1);
}
