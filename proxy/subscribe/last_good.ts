import { createHash } from "node:crypto";
import { readFile, rename } from "node:fs/promises";
import { writeAtomically } from "#kernel/files.ts";
import type { Logger } from "#kernel/log.ts";
import { parseSnapshot, type Snapshot } from "#model/snapshot.ts";
import type { SnapshotSink, SnapshotSource, SourceFailures } from "#proxy/subscribe/source.ts";

const VERSION = 1;

/**
 * The last snapshot that was good, on disk, with the one before beside it: a proxy starts from it with
 * nothing else alive. One header line with a checksum, then JSON.
 */
export class LastGood {
  readonly #path: string;
  readonly #log: Logger;
  #saving: Promise<void> = Promise.resolve();
  #newest: Snapshot | undefined = undefined;
  /** Writes that failed, as on a full disk. */
  failures = 0;

  constructor(path: string, log: Logger) {
    this.#path = path;
    this.#log = log;
  }

  /** The newest copy that is whole; undefined if there is none. */
  async load(): Promise<Snapshot | undefined> {
    for (const path of [this.#path, previous(this.#path)]) {
      const snapshot = await this.#read(path);
      if (snapshot !== undefined) return snapshot;
    }
    return undefined;
  }

  /** Writes in the background, never two at a time, only the newest of those that wait. */
  save(snapshot: Snapshot): void {
    const waits = this.#newest !== undefined;
    this.#newest = snapshot;
    if (!waits) this.#saving = this.#saving.then(() => this.#write());
  }

  /** Resolves when everything handed to `save` is on disk or has failed. */
  settled(): Promise<void> {
    return this.#saving;
  }

  async #write(): Promise<void> {
    const snapshot = this.#newest!;
    this.#newest = undefined;
    const body = JSON.stringify(snapshot);
    const header = JSON.stringify({ version: VERSION, sha256: checksum(body) });
    try {
      await rename(this.#path, previous(this.#path)).catch(() => {});
      await writeAtomically(this.#path, `${header}\n${body}\n`, 0o600);
    } catch (error) {
      this.failures++;
      const { message } = error as Error;
      this.#log.error("last good snapshot not saved", { path: this.#path, error: message });
    }
  }

  async #read(path: string): Promise<Snapshot | undefined> {
    let text: string;
    try {
      text = await readFile(path, "utf8");
    } catch {
      return undefined;
    }
    const snapshot = readCopy(text);
    if (typeof snapshot !== "string") return snapshot;
    this.#log.error("saved snapshot is not usable", { path, error: snapshot });
    return undefined;
  }
}

function previous(path: string): string {
  return `${path}.previous`;
}

function checksum(body: string): string {
  return createHash("sha256").update(body).digest("hex");
}

/** The snapshot, or what is wrong with the copy. */
function readCopy(text: string): Snapshot | string {
  const [header, body] = text.split("\n", 2);
  try {
    const { version, sha256 } = JSON.parse(header ?? "");
    if (version !== VERSION) return `version ${version}`;
    if (body === undefined || sha256 !== checksum(body)) return "checksum";
    const snapshot = parseSnapshot(JSON.parse(body), "last good snapshot");
    return snapshot.ok ? snapshot.value : (snapshot.error[0]?.message ?? "not a snapshot");
  } catch {
    return "torn";
  }
}

/** Starts from disk at once, then follows `live` and keeps what is accepted. */
export class LastGoodSource implements SnapshotSource {
  readonly #live: SnapshotSource;
  readonly #store: LastGood;
  readonly #first: Snapshot | undefined;

  /** @param first what `store.load()` gave. */
  constructor(live: SnapshotSource, store: LastGood, first: Snapshot | undefined) {
    this.#live = live;
    this.#store = store;
    this.#first = first;
  }

  start(sink: SnapshotSink): void {
    if (this.#first !== undefined) sink.apply(this.#first);
    this.#live.start({
      apply: (snapshot) => {
        sink.apply(snapshot);
        this.#store.save(snapshot);
      },
      refused: (problems) => sink.refused(problems),
    });
  }

  status(): string {
    return this.#live.status();
  }

  failures(): SourceFailures {
    return { ...this.#live.failures(), unsaved: this.#store.failures };
  }

  async close(): Promise<void> {
    await this.#live.close();
    await this.#store.settled();
  }
}
