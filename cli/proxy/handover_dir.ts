import { createHash } from "node:crypto";
import { lstat, mkdir } from "node:fs/promises";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { err, ok, type Result } from "#kernel/result.ts";

/**
 * Where processes of one user find each other: a directory that nobody else may write to or look into.
 * An error if it is somebody else's, or open to others.
 */
export async function handoverDir(): Promise<Result<string, string>> {
  const { uid } = userInfo();
  const runtime = process.env["XDG_RUNTIME_DIR"];
  const dir = runtime ? join(runtime, "espalier") : join(tmpdir(), `espalier-${uid}`);
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    // Not `stat`: in a directory that all may write to, a link may lead anywhere.
    const found = await lstat(dir);
    if (!found.isDirectory()) return err(`${dir} is not a directory`);
    if (found.uid !== uid) return err(`${dir} belongs to user ${found.uid}`);
    if ((found.mode & 0o077) !== 0) return err(`${dir} is open to others: chmod 700`);
    return ok(dir);
  } catch (error) {
    return err((error as Error).message);
  }
}

/** The socket of the process that runs with `subject`, the real path of a file or a state directory. */
export function handoverPath(dir: string, subject: string): string {
  return join(dir, `${createHash("sha256").update(subject).digest("hex").slice(0, 32)}.sock`);
}
