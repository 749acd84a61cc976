import { readdir, readFile, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { parseResources } from "#control/config/parse.ts";
import { noResources, type Resources } from "#control/config/resources.ts";
import type { CertificateSpec } from "#control/config/schema_gateway.ts";
import { err, ok, type Problem, type Result } from "#kernel/result.ts";

const CONFIG_FILE = /\.(?:ya?ml|json)$/;
const FILE_BYTES_MAX = 16 * 1_048_576;

/** Reads a file, or every `*.yaml`, `*.yml` and `*.json` of a directory. All problems at once. */
export async function loadResources(path: string): Promise<Result<Resources, Problem[]>> {
  const files = await filesOf(path);
  if (!files.ok) return files;
  const all = noResources();
  const problems: Problem[] = [];
  for (const file of files.value) {
    const text = await readText(file);
    if (!text.ok) {
      problems.push({ source: file, path: "", message: text.error });
      continue;
    }
    const parsed = parseResources(text.value, file);
    problems.push(...parsed.problems);
    for (const { spec } of parsed.resources.certificates) besideFile(spec, file);
    for (const kind of Object.keys(all) as Array<keyof Resources>) {
      (all[kind] as unknown[]).push(...parsed.resources[kind]);
    }
  }
  return problems.length > 0 ? err(problems) : ok(all);
}

/** Files that a file names stand beside it. */
function besideFile(spec: CertificateSpec, file: string): void {
  const at = (path: string): string => resolve(dirname(file), path);
  spec.certificateFile = at(spec.certificateFile);
  spec.keyFile = at(spec.keyFile);
  if (spec.ocspFile !== undefined) spec.ocspFile = at(spec.ocspFile);
}

async function filesOf(path: string): Promise<Result<string[], Problem[]>> {
  try {
    if (!(await stat(path)).isDirectory()) return ok([path]);
    const names = (await readdir(path)).filter((name) => CONFIG_FILE.test(name)).sort();
    if (names.length > 0) return ok(names.map((name) => join(path, name)));
    return err([{ source: path, path: "", message: "no *.yaml, *.yml or *.json in it" }]);
  } catch (error) {
    return err([{ source: path, path: "", message: reasonOf(error) }]);
  }
}

async function readText(file: string): Promise<Result<string, string>> {
  try {
    const about = await stat(file);
    // A pipe or a device may never end.
    if (!about.isFile()) return err("not a regular file");
    const { size } = about;
    if (size > FILE_BYTES_MAX) return err(`larger than ${FILE_BYTES_MAX} bytes`);
    return ok(await readFile(file, "utf8"));
  } catch (error) {
    return err(reasonOf(error));
  }
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ENOENT") return "no such file or directory";
  return code === "EACCES" ? "may not be read" : message;
}
