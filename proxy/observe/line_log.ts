import { close, constants, fstatSync, open, openSync, write } from "node:fs";
import type { Millis } from "#kernel/brand.ts";
import type { Clock, Timer } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";
import { type AccessLog, LINE_BYTES_MAX } from "#proxy/observe/access_log.ts";

/** Bytes of one write to a file; lines wait for as many, or for so long. */
const FILE_BATCH_BYTES = 65_536;
const FLUSH_MS: Millis = 100;
/** A full pipe is tried again soon, a full disk or a closed pipe seldom. */
const PIPE_FULL_MS: Millis = 10;
const RETRY_MS: Millis = 1_000;
/** At the end, for what is still waiting. */
const CLOSE_MS: Millis = 1_000;
/** Beyond this the disk does not keep up: lines are dropped, requests are not. */
const WAITING_BYTES_MAX = 4 * 1_048_576;
const STDOUT = 1;
const LINE_END = 10;
/** Non-blocking: a FIFO that nobody reads is an error at once, and a full one is too. */
const FLAGS = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK;
/** What clients ask for is not for everybody. */
const MODE = 0o640;

/** Why a file cannot be written, or undefined: asked before anything is started. */
export function problemWith(path: string): string | undefined {
  try {
    close(openSync(path, FLAGS, MODE), () => {});
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

interface Batch {
  readonly bytes: Buffer;
  /** So many of them are written. */
  done: number;
  readonly lines: number;
}

/**
 * The lines of one process on their way to a file or to stdout. Nobody waits for them: they leave in
 * batches, one write at a time, and what finds no room is counted and lost.
 */
export class LineLog implements AccessLog {
  readonly #path: string | undefined;
  readonly #clock: Clock;
  readonly #log: Logger;
  #fd: number | undefined = undefined;
  #batchBytes = LINE_BYTES_MAX;
  /** The batch that lines are added to, those that are full, and the one that is being written. */
  #open = "";
  #openLines = 0;
  readonly #full: Batch[] = [];
  #sending: Batch | undefined = undefined;
  #waitingBytes = 0;
  #writing = false;
  #timer: Timer | undefined = undefined;
  /** The timer waits for something to get better, not for more lines. */
  #stuck = false;
  #failing = false;
  #opening = false;
  #reopenAgain = false;
  /** Of the file that lines go to when the running write has ended. */
  #nextFd: number | undefined = undefined;
  #closed = false;
  #onEmpty: (() => void) | undefined = undefined;
  /** Lines that could not be written. */
  dropped = 0;

  /** @param path undefined: stdout. One that cannot be opened is tried again while lines wait. */
  constructor(path: string | undefined, clock: Clock, log: Logger) {
    this.#path = path;
    this.#clock = clock;
    this.#log = log;
    try {
      this.#use(path === undefined ? openStdout() : openSync(path, FLAGS, MODE));
    } catch (error) {
      this.#say(error as Error);
    }
  }

  write(line: string): void {
    if (this.#closed || this.#waitingBytes + line.length > WAITING_BYTES_MAX) {
      this.dropped++;
      return;
    }
    if (this.#open.length + line.length > this.#batchBytes) this.#seal();
    this.#open += line;
    this.#openLines++;
    this.#waitingBytes += line.length;
    if (this.#writing || this.#stuck) return;
    if (this.#full.length > 0) this.#send();
    else if (this.#timer === undefined) this.#later(FLUSH_MS);
  }

  /** After the file was moved away (logrotate): a new one is begun. The old one is used until it is there. */
  reopen(): void {
    if (this.#path === undefined || this.#closed) return;
    if (this.#opening) {
      this.#reopenAgain = true;
      return;
    }
    this.#opening = true;
    open(this.#path, FLAGS, MODE, (error, fd) => {
      this.#opening = false;
      if (error !== null) {
        if (this.#fd === undefined) this.#say(error);
        else this.#log.error("access log not begun anew", { error: error.message });
        if (this.#fd === undefined && !this.#closed) this.#later(RETRY_MS, true);
      } else if (this.#closed) close(fd, () => {});
      else this.#change(fd);
      if (!this.#reopenAgain) return;
      this.#reopenAgain = false;
      this.reopen();
    });
  }

  /** Writes what is waiting, for a second at most. */
  close(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    this.#closed = true;
    return new Promise((resolve) => {
      const timer = this.#clock.after(CLOSE_MS, () => this.#onEmpty?.());
      this.#onEmpty = () => {
        this.#onEmpty = undefined;
        timer.cancel();
        this.#timer?.cancel();
        this.#giveUp();
        resolve();
      };
      if (!this.#writing) this.#send();
    });
  }

  #use(fd: number): void {
    this.#fd = fd;
    const isFile = fstatSync(fd).isFile();
    this.#batchBytes = isFile ? FILE_BATCH_BYTES : LINE_BYTES_MAX;
  }

  #later(ms: Millis, stuck = false): void {
    this.#timer?.cancel();
    this.#stuck = stuck;
    this.#timer = this.#clock.after(ms, () => this.#send());
  }

  #seal(): void {
    if (this.#openLines === 0) return;
    const bytes = Buffer.from(this.#open, "latin1");
    this.#full.push({ bytes, done: 0, lines: this.#openLines });
    this.#open = "";
    this.#openLines = 0;
  }

  /** One write; the next one follows when it has ended. */
  #send(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#stuck = false;
    if (this.#fd === undefined) {
      if (this.#waitingBytes > 0) this.reopen();
      if (this.#closed) this.#onEmpty?.();
      return;
    }
    if (this.#sending === undefined && this.#full.length === 0) this.#seal();
    this.#sending ??= this.#full.shift();
    if (this.#sending === undefined) {
      this.#onEmpty?.();
      return;
    }
    const { bytes, done } = this.#sending;
    this.#writing = true;
    write(this.#fd, bytes, done, bytes.length - done, null, this.#onWritten);
  }

  readonly #onWritten = (error: NodeJS.ErrnoException | null, count: number): void => {
    this.#writing = false;
    if (this.#closed && this.#onEmpty === undefined) {
      this.#closeFile();
      return;
    }
    if (error !== null) {
      const isFull = error.code === "EAGAIN";
      if (!isFull) this.#say(error);
      if (this.#nextFd !== undefined) this.#change(this.#nextFd);
      else this.#later(isFull ? PIPE_FULL_MS : RETRY_MS, true);
      return;
    }
    if (this.#failing) this.#log.info("access log is written again");
    this.#failing = false;
    this.#waitingBytes -= count;
    const sending = this.#sending!;
    sending.done += count;
    if (sending.done === sending.bytes.length) {
      this.#sending = undefined;
      if (this.#nextFd !== undefined) this.#change(this.#nextFd);
    }
    if (this.#writing) return;
    if (this.#sending !== undefined || this.#full.length > 0 || this.#closed) this.#send();
    else if (this.#openLines > 0) this.#later(FLUSH_MS);
  };

  /** The running write is awaited: it belongs to the old file. */
  #change(fd: number): void {
    if (this.#writing) {
      if (this.#nextFd !== undefined) close(this.#nextFd, () => {});
      this.#nextFd = fd;
      return;
    }
    this.#nextFd = undefined;
    if (this.#fd !== undefined) close(this.#fd, () => {});
    this.#use(fd);
    this.#skipTornLine();
    this.#send();
  }

  /** The head of a line that only the old file has is of no use without its end. */
  #skipTornLine(): void {
    const sending = this.#sending;
    if (sending === undefined || sending.done === 0) return;
    if (sending.bytes[sending.done - 1] === LINE_END) return;
    const next = sending.bytes.indexOf(LINE_END, sending.done) + 1;
    this.#waitingBytes -= next - sending.done;
    sending.done = next;
    this.dropped++;
    if (next === sending.bytes.length) this.#sending = undefined;
  }

  #giveUp(): void {
    const sending = this.#sending;
    let lines = this.#openLines;
    for (const batch of this.#full) lines += batch.lines;
    if (sending !== undefined) {
      for (const byte of sending.bytes.subarray(sending.done)) if (byte === LINE_END) lines++;
    }
    this.dropped += lines;
    if (lines > 0) this.#log.error("access log ended early", { lines });
    if (!this.#writing) this.#closeFile();
  }

  #closeFile(): void {
    if (this.#fd !== undefined && this.#fd !== STDOUT) close(this.#fd, () => {});
    this.#fd = undefined;
  }

  /** Said once per failure, not once per line. */
  #say({ message }: Error): void {
    if (!this.#failing) this.#log.error("access log not written", { error: message });
    this.#failing = true;
  }
}

/**
 * A pipe is opened anew, so that a reader who stands still is an error of a write and blocks nothing;
 * whatever else stdout is, it is used as it is.
 */
function openStdout(): number {
  if (!fstatSync(STDOUT).isFIFO()) return STDOUT;
  try {
    return openSync("/proc/self/fd/1", constants.O_WRONLY | constants.O_NONBLOCK);
  } catch {
    return STDOUT;
  }
}
