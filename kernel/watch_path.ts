import { type FSWatcher, statSync, watch } from "node:fs";
import { basename, dirname } from "node:path";
import type { Millis } from "#kernel/brand.ts";
import type { Clock, Timer } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";

/** Editors write in several steps: one call for all of them. */
const SETTLE_MS: Millis = 100;
/** What does not come to rest is taken as it is after so long. */
const SETTLE_MAX_MS: Millis = 1_000;
/** Kubernetes swaps all files of a mounted ConfigMap or Secret at once, by this link beside them. */
const MOUNTED = "..data";

/**
 * Calls `onChange` after the file or the directory at `path` has changed and come to rest, or after a second
 * if it does not. What else changes in the directory of a file is nothing to it.
 */
export function watchPath(
  path: string,
  options: { readonly clock: Clock; readonly log: Logger; readonly onChange: () => void },
): { close(): void } {
  const { clock, log, onChange } = options;
  let settle: Timer | undefined;
  let latestAt: Millis = 0;
  const changed = (): void => {
    const now = clock.now();
    if (settle === undefined) latestAt = now + SETTLE_MAX_MS;
    settle?.cancel();
    settle = clock.after(Math.min(SETTLE_MS, latestAt - now), () => {
      settle = undefined;
      onChange();
    });
  };
  let watcher: FSWatcher | undefined;
  try {
    // The directory: a file that is replaced by a rename is another file.
    const isDirectory = statSync(path).isDirectory();
    const file = basename(path);
    watcher = watch(isDirectory ? path : dirname(path), (_event, name) => {
      // Not every system says which one it was.
      if (isDirectory || name === null || name === file || name === MOUNTED) changed();
    });
    watcher.on("error", (error) => log.warn("not watched", { path, error: error.message }));
  } catch (error) {
    log.warn("not watched; SIGHUP reloads", { path, error: (error as Error).message });
  }
  return {
    close: () => {
      watcher?.close();
      settle?.cancel();
    },
  };
}
