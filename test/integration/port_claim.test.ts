import assert from "node:assert/strict";
import { createServer, type ListenOptions, type Server } from "node:net";
import { afterEach, describe, it } from "node:test";
import { systemClock } from "#kernel/clock.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { seededRng } from "#kernel/rng.ts";
import type { ClusterName } from "#model/names.ts";
import { LocalPlane } from "#proxy/app/local_plane.ts";
import { inTurn } from "#proxy/listen/port_claim.ts";
import { freePort } from "#test/kit/ports.ts";
import { until } from "#test/kit/processes.ts";
import { simpleSnapshot } from "#test/kit/proxy.ts";

const LINUX = process.platform === "linux" ? {} : { skip: "ports are shared on Linux only" };

const close: Array<() => unknown> = [];
afterEach(async () => {
  for (const act of close.splice(0).reverse()) await act();
});

describe("two proxies that open the same port", { timeout: 60_000, ...LINUX }, () => {
  function plane(listenerPort: number): LocalPlane {
    const snapshot = simpleSnapshot([], { listenerPort });
    const started = new LocalPlane({
      cluster: snapshot.cluster as ClusterName,
      clock: systemClock,
      rng: seededRng(1),
      log: new MemoryLogger(),
      reusePort: true,
    });
    close.push(() => started.drain(0));
    started.apply(snapshot);
    return started;
  }

  it("at the same moment: one gets it, the others are told", async () => {
    for (let round = 0; round < 20; round++) {
      const port = await freePort();
      const planes = Array.from({ length: 4 }, () => plane(port));
      const all = (await Promise.all(planes.map((one) => one.settled()))).flat();
      const problems = all.flatMap(({ problem }) => problem ?? []);
      assert.equal(all.filter(({ bound }) => bound !== undefined).length, 1, `round ${round}`);
      assert.equal(problems.length, 3);
      for (const problem of problems) assert.match(problem, /EADDRINUSE/);
      await Promise.all(planes.map((one) => one.drain(0)));
    }
  });

  it("one a moment before the other: the second does not look before the first has bound", async () => {
    const port = await freePort();
    // Another process that has found it free and has not bound it yet.
    const turn = createServer();
    close.push(() => turn.close());
    await listening(turn, { path: `\0espalier/opening/${port}` });
    const late = plane(port);
    const other = createServer();
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
    await listening(other, { host: "127.0.0.1", port, reusePort: true });
    turn.close();
    close.push(() => other.close());
    const [status] = await late.settled();
    assert.match(status!.problem ?? "", /EADDRINUSE/);
  });

  it("take turns: none looks while another is between looking and binding", async () => {
    const port = await freePort();
    const did: string[] = [];
    let bound = (): void => {};
    const first = inTurn(port, systemClock, async () => {
      did.push("first begins");
      await new Promise<void>((resolve) => {
        bound = resolve;
      });
      did.push("first ends");
    });
    await until("it has begun", () => did.length === 1);
    let waited = 0;
    const clock = { ...systemClock, after: countedAfter(() => waited++) };
    const second = inTurn(port, clock, async () => did.push("second"));
    await until("the second waits", () => waited > 1);
    bound();
    await Promise.all([first, second]);
    assert.deepEqual(did, ["first begins", "first ends", "second"]);
  });

  it("do not wait for ever for one that hangs, or for somebody who has taken the name", async () => {
    const port = await freePort();
    const squatter = createServer();
    close.push(() => squatter.close());
    await listening(squatter, { path: `\0espalier/opening/${port}` });
    let now = 0;
    const clock = {
      ...systemClock,
      now: () => now,
      after: countedAfter(() => {
        now += 500;
      }),
    };
    assert.equal(await inTurn(port, clock, async () => "opened"), "opened");
    assert.ok(now >= 2_000);
  });
});

function listening(server: Server, at: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(at, resolve);
  });
}

/** The system's timers, and word of each. */
function countedAfter(count: () => void): typeof systemClock.after {
  return (delayMs, fn) => {
    count();
    return systemClock.after(delayMs, fn);
  };
}
