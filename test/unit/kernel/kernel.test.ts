import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openAdmin, textAnswer } from "#kernel/admin_http.ts";
import { InvariantError, assert as invariant, unreachable } from "#kernel/assert.ts";
import { backoffMs } from "#kernel/backoff.ts";
import { BoundedQueue } from "#kernel/bounded_queue.ts";
import { writeAtomically } from "#kernel/files.ts";
import { type Linked, LinkedList } from "#kernel/linked_list.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { countersOf, Metrics, mergedText } from "#kernel/metrics.ts";
import { formatProblem, formatProblems } from "#kernel/result.ts";
import { seededRng, systemRng } from "#kernel/rng.ts";
import { Timeout, TimerWheel } from "#kernel/timer_wheel.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import { get, rawExchange } from "#test/kit/http.ts";

describe("virtual clock", () => {
  it("fires in the order of time, then of setting", () => {
    const clock = new VirtualClock();
    const fired: string[] = [];
    clock.after(20, () => fired.push("b"));
    clock.after(10, () => {
      fired.push("a");
      clock.after(10, () => fired.push("d"));
    });
    clock.after(20, () => fired.push("c"));
    const every = clock.every(15, () => fired.push(`every ${clock.now()}`));
    clock.after(5, () => fired.push("never")).cancel();
    clock.advance(30);
    every.cancel();
    clock.advance(100);
    assert.deepEqual(fired, ["a", "every 15", "b", "c", "d", "every 30"]);
    assert.equal(clock.pending, 0);
  });
});

describe("timer wheel", () => {
  it("never fires early, at most a tick late, and again only when armed again", () => {
    const rng = seededRng(1);
    const clock = new VirtualClock();
    const wheel = new TimerWheel(clock, 50, 16);
    let fired = 0;
    for (let i = 0; i < 500; i++) {
      const delay = rng.below(5_000);
      const due = clock.now() + delay;
      wheel.arm(
        new Timeout(() => {
          fired++;
          assert.ok(clock.now() >= due && clock.now() <= due + 50, `${clock.now()} for ${due}`);
        }),
        delay,
      );
      clock.advance(rng.below(20));
    }
    clock.advance(10_000);
    assert.equal(fired, 500);
    assert.equal(wheel.size, 0);
    wheel.close();
  });

  it("moves a deadline, later or earlier, and forgets what is disarmed", () => {
    const clock = new VirtualClock();
    const wheel = new TimerWheel(clock);
    const fired: number[] = [];
    const later = new Timeout(() => fired.push(clock.now()));
    wheel.arm(later, 100);
    wheel.arm(later, 1_000);
    const earlier = new Timeout(() => fired.push(clock.now()));
    wheel.arm(earlier, 5_000);
    wheel.arm(earlier, 200);
    const never = new Timeout(() => fired.push(-1));
    wheel.arm(never, 300);
    wheel.disarm(never);
    wheel.disarm(never);
    clock.advance(10_000);
    assert.deepEqual(fired, [200, 1_000]);
  });

  it("lets callbacks arm and disarm others of the same slot", () => {
    const clock = new VirtualClock();
    const wheel = new TimerWheel(clock);
    const fired: string[] = [];
    const victim = new Timeout(() => fired.push("victim"));
    const killer = new Timeout(() => {
      fired.push("killer");
      wheel.disarm(victim);
      wheel.arm(killer, 50);
      if (fired.length > 2) wheel.disarm(killer);
    });
    wheel.arm(killer, 100);
    wheel.arm(victim, 100);
    clock.advance(1_000);
    assert.deepEqual(fired, ["killer", "killer", "killer"]);
  });
});

describe("bounded queue", () => {
  it("is first in, first out, and full is an answer", () => {
    const queue = new BoundedQueue<number>(3);
    for (let round = 0; round < 5; round++) {
      assert.deepEqual(
        [1, 2, 3, 4].map((i) => queue.push(i)),
        [true, true, true, false],
      );
      assert.equal(queue.peek(), 1);
      assert.deepEqual(
        [queue.shift(), queue.shift(), queue.shift(), queue.shift()],
        [1, 2, 3, undefined],
      );
    }
    assert.throws(() => new BoundedQueue(0), InvariantError);
  });
});

describe("a linked list", () => {
  class Item implements Linked<Item> {
    listPrev: Item | undefined = undefined;
    listNext: Item | undefined = undefined;
    isListed = false;
    readonly id: number;
    constructor(id: number) {
      this.id = id;
    }
  }

  it("does what an array does, whatever is asked of it", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const rng = seededRng(seed);
      const list = new LinkedList<Item>();
      const items = Array.from({ length: 8 }, (_, id) => new Item(id));
      let model: Item[] = [];
      for (let step = 0; step < 300; step++) {
        const item = items[rng.below(items.length)]!;
        const act = rng.below(5);
        if (act < 2 && !item.isListed) {
          list.push(item);
          model.push(item);
        } else if (act === 2) {
          list.remove(item);
          model = model.filter((one) => one !== item);
        } else if (act === 3) assert.equal(list.pop(), model.pop());
        else if (act === 4) assert.equal(list.shift(), model.shift());
        assert.equal(list.size, model.length);
        for (const one of items) assert.equal(one.isListed, model.includes(one));
      }
      while (model.length > 0) assert.equal(list.shift(), model.shift());
      assert.equal(list.pop(), undefined);
    }
  });
});

describe("back-off", () => {
  it("grows, is spread, and has a floor and a ceiling", () => {
    const policy = { baseMs: 100, maxMs: 1_000 };
    const at = (attempt: number, next: number) =>
      backoffMs(policy, attempt, { next: () => next, below: () => 0 });
    assert.equal(at(0, 0), 10);
    assert.equal(Math.round(at(0, 1)), 100);
    assert.equal(Math.round(at(1, 1)), 200);
    assert.equal(Math.round(at(1_000, 1)), 1_000);
  });
});

describe("chance", () => {
  it("repeats itself for a seed and is even", () => {
    const draw = (seed: number) => Array.from({ length: 5 }, seededRng(seed).next);
    assert.deepEqual(draw(1), draw(1));
    assert.notDeepEqual(draw(1), draw(2));
    const rng = systemRng();
    const counts = [0, 0, 0, 0];
    for (let i = 0; i < 40_000; i++) counts[rng.below(4)]!++;
    for (const count of counts) assert.ok(Math.abs(count - 10_000) < 600, String(counts));
  });
});

describe("invariants", () => {
  it("end what breaks them", () => {
    assert.throws(() => invariant(false, "broken"), /broken/);
    assert.throws(() => unreachable("x" as never), InvariantError);
  });
});

describe("problems", () => {
  it("say where they are", () => {
    const message = "must be there";
    assert.equal(
      formatProblem({ source: "a.yaml", line: 3, path: "spec.x", message }),
      "a.yaml:3: spec.x: must be there",
    );
    assert.equal(formatProblem({ source: "a.yaml", path: "", message }), "a.yaml: must be there");
  });

  it("are told one by one as far as that helps", () => {
    const one = { source: "a.yaml", path: "", message: "no" };
    assert.equal(formatProblems(Array(100).fill(one)).length, 100);
    assert.deepEqual(formatProblems(Array(5_000).fill(one)).slice(99), [
      "a.yaml: no",
      "and 4900 problems more",
    ]);
  });
});

describe("metrics", () => {
  it("show what their owners count, and add up over processes", async () => {
    const metrics = new Metrics();
    let count = 1;
    metrics.counter({ name: "x_total", help: "X.", labels: ["a"] }, () => [
      { labels: ["one"], value: count },
    ]);
    metrics.histogram({ name: "y_seconds", help: "Y.", labels: [] }, [1, 2], () => [
      { labels: [], counts: [3, 0, 1], sum: 9 },
    ]);
    count = 5;
    const text = await metrics.text();
    assert.match(text, /x_total\{a="one"\} 5/);
    for (const line of [
      'y_seconds_bucket{le="1"} 3',
      'y_seconds_bucket{le="2"} 3',
      'y_seconds_bucket{le="+Inf"} 4',
      "y_seconds_sum 9",
      "y_seconds_count 4",
    ]) {
      assert.ok(text.includes(line), `${line} in ${text}`);
    }
    const both = await mergedText([await metrics.data(), await metrics.data()]);
    assert.match(both, /x_total\{a="one"\} 10/);
    assert.match(both, /y_seconds_count 8/);
  });

  it("merge gauges as each means it, and keep the counters of processes that ended", async () => {
    const process = (value: number): Metrics => {
      const metrics = new Metrics();
      const read = () => [{ labels: [], value }];
      for (const merge of ["sum", "average", "min", "max"] as const) {
        metrics.gauge({ name: merge, help: "G.", labels: [], merge }, read);
      }
      metrics.counter({ name: "x_total", help: "X.", labels: ["a"] }, () => [
        { labels: ["one"], value },
      ]);
      metrics.histogram({ name: "y_seconds", help: "Y.", labels: [] }, [1], () => [
        { labels: [], counts: [value, 1], sum: value },
      ]);
      return metrics;
    };
    const [one, three] = [await process(1).data(), await process(3).data()];
    const merged = await mergedText([one, three]);
    for (const line of ["sum 4", "average 2", "min 1", "max 3"]) {
      assert.ok(merged.includes(`\n${line}\n`), `${line} in ${merged}`);
    }
    const ended = countersOf([countersOf([one]), three]);
    const after = await mergedText([ended, one]);
    assert.match(after, /\nsum 1\n/);
    assert.match(after, /x_total\{a="one"\} 5/);
    assert.match(after, /y_seconds_bucket\{le="1"\} 5/);
    assert.match(after, /y_seconds_bucket\{le="\+Inf"\} 8/);
    assert.match(after, /y_seconds_sum 5/);
  });
});

describe("memory logger", () => {
  it("keeps what was said, with the fields of its parents", () => {
    const log = new MemoryLogger();
    log.with({ a: 1 }).with({ b: 2 }).warn("hello", { c: 3 });
    assert.deepEqual(log.lines, [
      { level: "warn", message: "hello", fields: { a: 1, b: 2, c: 3 } },
    ]);
  });
});

describe("atomic files", () => {
  it("leave the old content or the new, and nothing beside it", async () => {
    const dir = await mkdtemp(join(tmpdir(), "espalier-files-"));
    const path = join(dir, "x");
    await writeAtomically(path, "one", 0o600);
    await writeAtomically(path, "two", 0o600);
    assert.equal(await readFile(path, "utf8"), "two");
    const texts = Array.from({ length: 20 }, (_, i) => `${i}`.repeat(10_000));
    await Promise.all(texts.map((text) => writeAtomically(path, text)));
    assert.ok(texts.includes(await readFile(path, "utf8")), "writers that meet do not mix");
    await assert.rejects(writeAtomically(join(dir, "no", "x"), "three"));
    assert.deepEqual(await readdir(dir), ["x"]);
    await rm(dir, { recursive: true });
  });
});

describe("admin port", () => {
  it("answers GETs of its paths and refuses everything else", async () => {
    const routes = new Map([
      ["/ready", () => textAnswer(200, "ready")],
      [
        "/broken",
        () => {
          throw new Error("inside");
        },
      ],
    ]);
    const opened = await openAdmin({ address: "127.0.0.1", port: 0, routes });
    assert.ok(opened.ok);
    const { port, close } = opened.value;
    assert.deepEqual((await get(port, { path: "/ready?x=1" })).body, "ready\n");
    assert.equal((await get(port, { path: "/nothing" })).status, 404);
    assert.equal((await get(port, { path: "/ready", method: "POST" })).status, 405);
    assert.equal((await get(port, { path: "/broken" })).status, 500);
    assert.equal(await rawExchange(port, "\x00\x01\x02garbage\r\n\r\n"), "");
    const again = await openAdmin({ address: "127.0.0.1", port, routes });
    assert.ok(!again.ok && again.error.includes("EADDRINUSE"));
    await close();
  });
});
