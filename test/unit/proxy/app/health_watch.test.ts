import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import { HealthWatch, type HealthWatchOptions } from "#proxy/app/health_watch.ts";

type Watched = ReturnType<HealthWatchOptions["services"]> extends Iterable<infer S> ? S : never;

/** When news came, of services with so many healthy endpoints as `at` sets. */
class Watch {
  readonly clock = new VirtualClock();
  readonly healthy = new Map<string, number>();
  readonly news: number[] = [];
  readonly watch = new HealthWatch({
    clock: this.clock,
    services: () =>
      Array.from(
        this.healthy,
        ([name, count]) => ({ name, balancer: { healthyHere: () => count } }) as unknown as Watched,
      ),
    onNews: () => this.news.push(this.clock.now()),
  });

  /** How many times there was news in the next 100 ms. */
  after(...healthy: ReadonlyArray<readonly [string, number]>): number {
    const before = this.news.length;
    for (const [name, count] of healthy) this.healthy.set(name, count);
    this.clock.advance(100);
    return this.news.length - before;
  }
}

describe("the health of services", () => {
  it("is news when its class changes: none, some again, a quarter more or fewer", () => {
    const watch = new Watch();
    const said = [8, 7, 8, 7, 6, 7, 8, 1, 0, 0, 1, 1, 2].map((count) => watch.after(["a", count]));
    assert.deepEqual(said, [0, 0, 0, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1]);
  });

  it("is told within 100 ms, and of many services together", () => {
    const watch = new Watch();
    watch.after(["a", 2], ["b", 2]);
    const at = watch.clock.now();
    assert.equal(watch.after(["a", 0], ["b", 1]), 1);
    assert.ok(watch.news[0]! - at <= 100);
  });

  it("is no news for a service that comes, goes, or comes again", () => {
    const watch = new Watch();
    assert.equal(watch.after(["a", 2], ["b", 2]), 0);
    watch.healthy.delete("b");
    assert.equal(watch.after(), 0);
    assert.equal(watch.after(["b", 1]), 0);
    assert.equal(watch.after(["b", 0]), 1);
  });

  it("is not looked at once it is over", () => {
    const watch = new Watch();
    watch.after(["a", 2]);
    watch.watch.close();
    assert.equal(watch.after(["a", 0]), 0);
  });
});
