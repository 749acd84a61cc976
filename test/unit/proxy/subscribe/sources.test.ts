import assert from "node:assert/strict";
import { mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { systemClock } from "#kernel/clock.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { err, ok, type Problem, type Result } from "#kernel/result.ts";
import type { Snapshot } from "#model/snapshot.ts";
import { DirectSource } from "#proxy/subscribe/direct_source.ts";
import { FileSource } from "#proxy/subscribe/file_source.ts";
import { LastGood, LastGoodSource } from "#proxy/subscribe/last_good.ts";
import { MappedSource, OwnSource } from "#proxy/subscribe/mapped_source.ts";
import { NO_FAILURES, type SnapshotSink, type SnapshotSource } from "#proxy/subscribe/source.ts";
import { until } from "#test/kit/processes.ts";
import { simpleSnapshot } from "#test/kit/proxy.ts";

const snapshot = (revision: string): Snapshot => simpleSnapshot([1], { revision });

/** Takes everything; what it took, and what was refused. */
function taker() {
  const taken: string[] = [];
  const refused: string[] = [];
  const sink: SnapshotSink = {
    apply: ({ revision }) => void taken.push(revision),
    refused: (problems) => void refused.push(...problems),
  };
  return { taken, refused, sink };
}

describe("sources of snapshots", () => {
  let dir: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "espalier-sources-"));
  });
  after(() => rm(dir, { recursive: true }));

  it("a file: read anew when it is written, replaced, or when told to; a bad one changes nothing", async () => {
    const path = join(dir, "revision");
    await writeFile(path, "1");
    const log = new MemoryLogger();
    let reads = 0;
    const load = async (): Promise<Result<Snapshot, readonly Problem[]>> => {
      const text = await readFile(path, "utf8");
      reads++;
      return text === "bad"
        ? err([{ source: path, path: "x", message: "is bad" }])
        : ok(snapshot(text));
    };
    const source = new FileSource({ path, first: snapshot("1"), load, clock: systemClock, log });
    const { taken, refused, sink } = taker();
    source.start(sink);
    assert.deepEqual(taken, ["1"]);
    await writeFile(path, "2");
    await until("a written file is read", () => taken.at(-1) === "2");
    await writeFile(`${path}.new`, "3");
    await rename(`${path}.new`, path);
    await until("a replaced file is read", () => taken.at(-1) === "3");
    await writeFile(path, "3");
    await writeFile(join(dir, "access.log"), "line");
    const before = reads;
    await until("it is read again", () => reads > before);
    assert.deepEqual(taken, ["1", "2", "3"], "and says the same");
    await source.reload();
    assert.deepEqual(taken, ["1", "2", "3", "3"], "who asks for it gets it");
    assert.equal(log.lines.filter(({ level }) => level === "info").length, taken.length - 1);
    await writeFile(path, "bad");
    await until("a bad file is refused", () => refused.length > 0);
    assert.match(refused[0]!, /x: is bad/);
    assert.equal(taken.at(-1), "3");
    assert.ok(log.lines.some(({ message }) => message.includes("x: is bad")));
    await writeFile(path, "3");
    await until("a good one is in force again, though the same", () => taken.length === 5);
    await writeFile(path, "4");
    await source.reload();
    assert.equal(taken.at(-1), "4");
    await source.close();
  });

  it("the disk: the last good one, and the one before if it is torn", async () => {
    const log = new MemoryLogger();
    const path = join(dir, "snapshot.json");
    const store = new LastGood(path, log);
    assert.equal(await store.load(), undefined);
    store.save(snapshot("1"));
    await store.settled();
    store.save(snapshot("2"));
    await store.settled();
    assert.deepEqual(await store.load(), snapshot("2"));
    const text = await readFile(path, "utf8");
    for (const torn of [
      text.slice(0, text.length / 2),
      "",
      text.replace("127.0.0.1", "127.0.0.2"),
      "{}\n{}",
    ]) {
      await writeFile(path, torn);
      assert.equal((await store.load())?.revision, "1", JSON.stringify(torn.slice(0, 40)));
    }
    assert.ok(log.lines.some(({ level }) => level === "error"));
  });

  it("the disk: that it is full costs a log line and nothing else", async () => {
    const log = new MemoryLogger();
    const store = new LastGood(join(dir, "no", "such", "directory"), log);
    store.save(snapshot("1"));
    await store.settled();
    assert.equal(store.failures, 1);
    assert.match(log.lines[0]!.message, /not saved/);
  });

  it("the disk, then the control service; only what was accepted is kept", async () => {
    const store = new LastGood(join(dir, "kept.json"), new MemoryLogger());
    const live: { sink?: SnapshotSink } = {};
    const source: SnapshotSource = {
      start: (sink) => {
        live.sink = sink;
      },
      status: () => "connected",
      failures: () => NO_FAILURES,
      close: async () => {},
    };
    const kept = new LastGoodSource(source, store, snapshot("disk"));
    const { taken, refused, sink } = taker();
    kept.start(sink);
    assert.deepEqual(taken, ["disk"]);
    live.sink!.apply(snapshot("live"));
    live.sink!.refused(["bad"]);
    assert.deepEqual(refused, ["bad"]);
    await kept.close();
    assert.equal((await store.load())?.revision, "live");
  });

  it("a control service in the same process hears what was accepted", () => {
    const heard: unknown[] = [];
    const source = new DirectSource((deliver) => {
      deliver(snapshot("1"));
      return { verdict: (v) => heard.push(v), report: () => {}, close: () => {} };
    });
    const { taken, sink } = taker();
    source.start(sink);
    assert.deepEqual(taken, ["1"]);
    assert.deepEqual(heard, [{ revision: "1", problems: [] }]);
  });

  it("one that changes another's", () => {
    const { taken, sink } = taker();
    const mapped = new MappedSource(new OwnSource(snapshot("1")), (s) => ({
      ...s,
      revision: `${s.revision}+`,
    }));
    mapped.start(sink);
    assert.deepEqual([taken, mapped.status()], [["1+"], "static"]);
  });

  it("its owner's: each other revision, until it is closed", async () => {
    const { taken, sink } = taker();
    const own = new OwnSource(snapshot("1"));
    own.put(snapshot("2"));
    own.start(sink);
    for (const revision of ["2", "3", "3", "1"]) own.put(snapshot(revision));
    await own.close();
    own.put(snapshot("4"));
    assert.deepEqual(taken, ["2", "3", "1"]);
  });
});
