import type { Clock } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";
import { formatProblems, type Problem, type Result } from "#kernel/result.ts";
import { watchPath } from "#kernel/watch_path.ts";
import type { Snapshot } from "#model/snapshot.ts";
import {
  NO_FAILURES,
  type SnapshotSink,
  type SnapshotSource,
  type SourceFailures,
} from "#proxy/subscribe/source.ts";

export interface FileSourceOptions {
  /** File or directory that is watched. */
  readonly path: string;
  /** What it held when the process started. */
  readonly first: Snapshot;
  readonly load: () => Promise<Result<Snapshot, readonly Problem[]>>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Snapshots from a file: read anew when it changes or when told to. A bad one changes nothing. */
export class FileSource implements SnapshotSource {
  readonly #options: FileSourceOptions;
  #watcher: { close(): void } | undefined = undefined;
  #sink: SnapshotSink | undefined = undefined;
  #loading: Promise<void> = Promise.resolve();
  /** Of what is in force; undefined: the file has been refused since. */
  #revision: string | undefined = undefined;

  constructor(options: FileSourceOptions) {
    this.#options = options;
  }

  start(sink: SnapshotSink): void {
    const { path, first, clock, log } = this.#options;
    this.#sink = sink;
    this.#revision = first.revision;
    sink.apply(first);
    // Written again with the same words: nothing to do.
    const onChange = (): void => void this.#loadNext((revision) => revision !== this.#revision);
    this.#watcher = watchPath(path, { clock, log, onChange });
  }

  /** Reads it now, after what is being read. What it names may have changed though it has not: certificates. */
  reload(): Promise<void> {
    return this.#loadNext(() => true);
  }

  status(): string {
    return "static";
  }

  failures(): SourceFailures {
    return NO_FAILURES;
  }

  async close(): Promise<void> {
    this.#watcher?.close();
    this.#sink = undefined;
    await this.#loading;
  }

  #loadNext(isWanted: (revision: string) => boolean): Promise<void> {
    this.#loading = this.#loading.then(() => this.#load(isWanted));
    return this.#loading;
  }

  async #load(isWanted: (revision: string) => boolean): Promise<void> {
    const { load, log, path } = this.#options;
    const loaded = await load();
    if (loaded.ok) {
      if (!isWanted(loaded.value.revision)) return;
      this.#revision = loaded.value.revision;
      this.#sink?.apply(loaded.value);
      log.info("configuration read anew", { path, revision: this.#revision });
      return;
    }
    this.#revision = undefined;
    const problems = formatProblems(loaded.error);
    log.error("configuration refused; the old one stays in force", { path });
    for (const problem of problems) log.error(problem);
    this.#sink?.refused(problems);
  }
}
