import { execFile } from "node:child_process";
import { access, constants } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { err, ok, type Result } from "#kernel/result.ts";

const run = promisify(execFile);

/** Older ones lack what our configuration asks for, or what keeps a child to its own subjects. */
const OLDEST = [2, 12] as const;

const HOW_TO_GET =
  'install nats-server 2.12 or newer and put it on PATH, or run "make install" in a clone, which fetches it';

/**
 * The nats-server to run: `ESPALIER_NATS_SERVER`, else one on PATH, else the one that `make install`
 * put into `.tools/`. @param root directory that holds `.tools/`.
 */
export async function findNatsServer(
  root: string,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<Result<string, string>> {
  const named = environment["ESPALIER_NATS_SERVER"];
  const onPath = (environment["PATH"] ?? "").split(delimiter).filter((dir) => dir !== "");
  const places =
    named !== undefined
      ? [named]
      : [...onPath.map((dir) => join(dir, "nats-server")), join(root, ".tools", "nats-server")];
  let tooOld: string | undefined;
  for (const place of places) {
    if (!(await isExecutable(place))) continue;
    const version = await versionOf(place);
    if (version !== undefined && isNewEnough(version)) return ok(place);
    tooOld ??= `${place} is version ${version ?? "unknown"}`;
  }
  return err(`${tooOld ?? "nats-server was not found"}: ${HOW_TO_GET}`);
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

async function versionOf(binary: string): Promise<string | undefined> {
  try {
    const { stdout } = await run(binary, ["--version"], { timeout: 10_000 });
    return /v?(\d+\.\d+\.\d+)/.exec(stdout)?.[1];
  } catch {
    return undefined;
  }
}

function isNewEnough(version: string): boolean {
  const [major, minor] = version.split(".").map(Number);
  return major! > OLDEST[0] || (major === OLDEST[0] && minor! >= OLDEST[1]);
}
