import { type FSWatcher, statSync, watch } from "node:fs";
import { dirname } from "node:path";
import type { Clock, Timer } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";

/** Editors write in several steps: one call for all of them. */
const SETTLE_MS = 100;

/** Calls `onChange` after the file or the directory at `path` has changed and come to rest. */
export function watchPath(
  path: string,
  options: { readonly clock: Clock; readonly log: Logger; readonly onChange: () => void },
): { close(): void } {
  const { clock, log, onChange } = options;
  let settle: Timer | undefined;
  let watcher: FSWatcher | undefined;
  try {
    // The directory: a file that is replaced by a rename is another file.
    const directory = statSync(path).isDirectory() ? path : dirname(path);
    watcher = watch(directory, () => {
      settle?.cancel();
      settle = clock.after(SETTLE_MS, onChange);
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
