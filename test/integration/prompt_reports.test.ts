import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";
import { pathToFileURL } from "node:url";
import { type Clock, systemClock } from "#kernel/clock.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { seededRng } from "#kernel/rng.ts";
import type { DataPlane } from "#proxy/app/data_plane.ts";
import { HeldPorts } from "#proxy/app/held_ports.ts";
import { ProxyProcess, REPORT_PERIOD_MS } from "#proxy/app/proxy_process.ts";
import { WorkerPool } from "#proxy/app/worker_pool.ts";
import { OwnSource } from "#proxy/subscribe/mapped_source.ts";
import { get, TestOrigin } from "#test/kit/http.ts";
import { freePort } from "#test/kit/ports.ts";
import { ROOT, until } from "#test/kit/processes.ts";
import { simpleSnapshot, startPlane } from "#test/kit/proxy.ts";

/** On which the time of a report never comes: whatever is reported, something has happened. */
const unhurried: Clock = {
  ...systemClock,
  every: (ms, fn) => systemClock.every(ms === REPORT_PERIOD_MS ? 3_600_000 : ms, fn),
};

const PLANES: Readonly<Record<string, (port: number) => Promise<DataPlane>>> = {
  "a process": async (port) => (await startPlane(simpleSnapshot([port]))).plane,
  "two workers": async () =>
    new WorkerPool({
      workers: 2,
      program: pathToFileURL(`${ROOT}/cli/worker.ts`),
      clock: systemClock,
      rng: seededRng(1),
      log: new MemoryLogger(),
      accessLog: "/dev/null",
      held: new HeldPorts(),
    }),
};

describe("what happens to endpoints", { timeout: 60_000 }, () => {
  const close: Array<() => Promise<unknown>> = [];
  afterEach(async () => {
    for (const act of close.splice(0).reverse()) await act();
  });

  for (const [kind, planeOf] of Object.entries(PLANES)) {
    it(`is reported by ${kind} when it happens`, async () => {
      const origin = new TestOrigin("one");
      await origin.start();
      const endpointPort = origin.port;
      const listenerPort = await freePort();
      const plane = await planeOf(endpointPort);
      const said: Array<number | undefined> = [];
      const proxy = new ProxyProcess({
        ...{ clock: unhurried, plane, log: new MemoryLogger(), version: "1" },
        source: new OwnSource(simpleSnapshot([endpointPort], { revision: "2", listenerPort })),
        report: (reports) => said.push(reports[0]?.healthy),
      });
      close.push(() => proxy.stop(0));
      proxy.start();
      await proxy.started;
      await proxy.settled();
      assert.equal((await get(listenerPort)).status, 200);
      assert.deepEqual(said, []);

      await origin.stop();
      await until("none is left", async () => {
        await get(listenerPort);
        return said.at(-1) === 0;
      });
      await origin.start(endpointPort);
      close.push(() => origin.stop());
      await until("it is back", async () => {
        await get(listenerPort);
        return said.at(-1) === 1;
      });
    });
  }
});
