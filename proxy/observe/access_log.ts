import pino from "pino";
import type { Clock } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";

/** Lines leave when there are so many bytes of them … */
const BATCH_BYTES = 8_192;
/** … or when the oldest is this old. */
const FLUSH_MS = 500;
/** Beyond this the disk does not keep up: lines are dropped, requests are not. */
const WAITING_BYTES_MAX = 4 * 1_048_576;

/** File descriptor of the standard output. */
export const STDOUT = 1;

/** Where finished requests are written down. */
export interface AccessLog {
  write(fields: object): void;
}

/**
 * The access log of one process: JSON lines, to stdout. Never waited for; what cannot be written is
 * counted and lost.
 */
export class LineLog implements AccessLog {
  readonly #sink: ReturnType<typeof pino.destination>;
  readonly #flusher: { cancel(): void };
  readonly #log: Logger;
  readonly #dest: number | string;
  #failing = false;
  /** Lines that could not be written. */
  dropped = 0;

  /** @param dest a file descriptor or a path. */
  constructor(dest: number | string, clock: Clock, log: Logger) {
    this.#log = log;
    this.#dest = dest;
    this.#sink = pino.destination({
      dest,
      sync: false,
      append: true,
      mkdir: false,
      minLength: BATCH_BYTES,
      maxLength: WAITING_BYTES_MAX,
    });
    this.#sink.on("drop", () => {
      this.dropped++;
    });
    this.#sink.on("error", (error: Error) => this.#onError(error));
    this.#flusher = clock.every(FLUSH_MS, () => this.#flush());
  }

  write(fields: object): void {
    this.#sink.write(`${JSON.stringify(fields)}\n`);
  }

  /** After the file was moved away (logrotate): a new one is begun. */
  reopen(): void {
    if (typeof this.#dest === "string") this.#sink.reopen();
  }

  close(): void {
    this.#flusher.cancel();
    try {
      this.#sink.flushSync();
    } catch (error) {
      this.#onError(error as Error);
    }
    this.#sink.destroy();
  }

  #flush(): void {
    try {
      this.#sink.flush();
      this.#failing = false;
    } catch (error) {
      this.#onError(error as Error);
    }
  }

  /** Said once per failure, not once per line. */
  #onError({ message }: Error): void {
    this.dropped++;
    if (!this.#failing) this.#log.error("access log not written", { error: message });
    this.#failing = true;
  }
}
