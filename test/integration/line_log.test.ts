import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, constants, existsSync, openSync, readFileSync, readSync } from "node:fs";
import { mkdtemp, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { systemClock } from "#kernel/clock.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { LineLog, problemWith } from "#proxy/observe/line_log.ts";
import { until } from "#test/kit/processes.ts";

const LINE = `${"x".repeat(199)}\n`;

/** The reading end of a FIFO; it never waits. */
class Reader {
  readonly #fd: number;
  #text = "";

  constructor(path: string) {
    this.#fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  }

  /** What was there to be read, at most so many bytes of it, and all that was read before. */
  read(most = Number.POSITIVE_INFINITY): string {
    const chunk = Buffer.alloc(10_007);
    for (let left = most; left > 0; left -= chunk.length) {
      let count = 0;
      try {
        count = readSync(this.#fd, chunk);
      } catch {
        return this.#text;
      }
      if (count === 0) return this.#text;
      this.#text += chunk.toString("latin1", 0, count);
    }
    return this.#text;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

describe("the writer of the access log", { timeout: 60_000 }, () => {
  let dir: string;
  let path: string;
  let said: MemoryLogger;
  const logs: LineLog[] = [];

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "espalier-log-"));
    path = join(dir, "access.log");
    said = new MemoryLogger();
  });
  afterEach(async () => {
    for (const log of logs.splice(0)) await log.close();
    await rm(dir, { recursive: true, force: true });
  });

  function logTo(file: string): LineLog {
    const log = new LineLog(file, systemClock, said);
    logs.push(log);
    return log;
  }

  const linesOf = (file: string): string[] =>
    existsSync(file) ? readFileSync(file, "latin1").split("\n").slice(0, -1) : [];

  function fifo(): string {
    const file = join(dir, "fifo");
    execFileSync("mkfifo", [file]);
    return file;
  }

  it("writes every line, soon and at the end", async () => {
    const log = logTo(path);
    log.write("one\n");
    await until("it is written by itself", () => linesOf(path).length === 1);
    for (let i = 0; i < 1_000; i++) log.write(`${i} ${LINE}`);
    await log.close();
    assert.equal(linesOf(path).length, 1_001);
    assert.equal(linesOf(path)[1_000]!.slice(0, 4), "999 ");
    log.write("late\n");
    assert.equal(log.dropped, 1);
  });

  it("loses no line when its file is moved away, again and again", async () => {
    const log = logTo(path);
    let written = 0;
    const moved: string[] = [];
    for (let turn = 0; turn < 10; turn++) {
      for (let i = 0; i < 500; i++) log.write(`${written++} ${LINE}`);
      const old = join(dir, `access.log.${turn}`);
      await rename(path, old);
      moved.push(old);
      log.reopen();
      log.reopen();
      for (let i = 0; i < 500; i++) log.write(`${written++} ${LINE}`);
      await until("the new file is there", () => existsSync(path));
    }
    await log.close();
    const numbers = [...moved, path].flatMap(linesOf).map((line) => Number.parseInt(line, 10));
    assert.deepEqual(
      numbers,
      Array.from({ length: written }, (_, i) => i),
    );
    assert.equal(log.dropped, 0);
    assert.deepEqual(said.lines, []);
  });

  it("keeps its file when a new one cannot be made, and says so", async () => {
    const log = logTo(path);
    const away = `${dir}.away`;
    await rename(dir, away);
    log.reopen();
    await until("it is said", () => said.lines.length === 1);
    assert.equal(said.lines[0]!.message, "access log not begun anew");
    log.write("still here\n");
    await until(
      "the line is in the old file",
      () => linesOf(join(away, "access.log")).length === 1,
    );
    await rename(away, dir);
    assert.equal(log.dropped, 0);
  });

  it("tells what cannot be opened", () => {
    assert.equal(problemWith(path), undefined);
    assert.match(problemWith(dir) ?? "", /EISDIR/);
    assert.match(problemWith(join(dir, "none", "a.log")) ?? "", /ENOENT/);
    assert.match(problemWith(fifo()) ?? "", /ENXIO/);
  });

  it("drops and counts what a full disk does not take, in bounded memory", async () => {
    const log = logTo("/dev/full");
    const count = 60_000;
    for (let i = 0; i < count; i++) log.write(LINE);
    assert.ok(log.dropped > count / 2, "12 MB against 4");
    await until("it is said", () => said.lines.length > 0);
    await log.close();
    assert.equal(log.dropped, count);
    assert.deepEqual(
      said.lines.map(({ message }) => message),
      ["access log not written", "access log ended early"],
    );
  });

  it("goes on when the place is there again", async () => {
    const log = logTo(join(dir, "sub", "access.log"));
    log.write("first\n");
    execFileSync("mkdir", [join(dir, "sub")]);
    await until("it is written", () => linesOf(join(dir, "sub", "access.log")).length === 1);
    assert.equal(log.dropped, 0);
    assert.equal(said.lines.at(-1)!.message, "access log is written again");
  });

  it("waits for nobody who reads slowly, and cuts no line", async () => {
    const file = fifo();
    const reader = new Reader(file);
    const log = logTo(file);
    const other = logTo(file);
    const [many, few] = [30_000, 1_000];
    for (let i = 0; i < many; i++) {
      log.write(`a${i} ${LINE}`);
      if (i < few) other.write(`b${i} ${LINE}`);
    }
    assert.ok(log.dropped > 0, "6 MB against 4 and what a pipe takes");
    const expected = (): number => many + few - log.dropped - other.dropped;
    await until("what was not dropped is read", () => {
      // Neither a pipe's size nor a multiple of it: what has room is never a whole batch.
      const read = reader.read(50_035);
      return read.length > expected() * 200 && read.split("\n").length > expected();
    });
    const lines = reader.read().split("\n").slice(0, -1);
    assert.equal(lines.length, expected());
    for (const line of lines) assert.match(line, /^[ab]\d+ x{199}$/);
    assert.deepEqual(said.lines, []);
    reader.close();
  });

  it("outlives its reader, and takes up with the next one", async () => {
    const file = fifo();
    const first = new Reader(file);
    const log = logTo(file);
    log.write("one\n");
    await until("the first reads", () => first.read() === "one\n");
    first.close();
    log.write("two\n");
    await until("it is said", () => said.lines.length === 1);
    assert.match(String(said.lines[0]!.fields["error"]), /EPIPE/);
    const second = new Reader(file);
    await until("the second reads", () => second.read() === "two\n");
    assert.equal(log.dropped, 0);
    second.close();
  });
});
