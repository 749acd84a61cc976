import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

/** Two writers of one file must not meet in its temporary one. */
let written = 0;

/**
 * Replaces the file at `path` so that a crash at any moment leaves the old content or the new one,
 * never a part of it. Throws what the file system throws.
 */
export async function writeAtomically(path: string, content: string, mode = 0o644): Promise<void> {
  const temporary = `${path}.${process.pid}-${++written}.tmp`;
  try {
    const file = await open(temporary, "w", mode);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  // The rename itself is durable only once its directory is.
  const directory = await open(dirname(path), "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
