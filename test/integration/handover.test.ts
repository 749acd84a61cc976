import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { Handover } from "#cli/proxy/handover.ts";
import { systemClock } from "#kernel/clock.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import { until } from "#test/kit/processes.ts";

describe("the handover socket", { timeout: 30_000 }, () => {
  let dir: string;
  let path: string;
  const opened: Array<() => void> = [];
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "espalier-handover-"));
    path = join(dir, "place.sock");
  });
  afterEach(async () => {
    for (const close of opened.splice(0)) close();
    await rm(dir, { recursive: true });
  });

  function process(limitMs = 5_000) {
    const log = new MemoryLogger();
    const handover = new Handover({ path, clock: systemClock, log, limitMs });
    opened.push(() => handover.close());
    return { handover, log };
  }

  /** Has the place and does with each connection as it likes. */
  async function fake(behave: (socket: Socket) => void): Promise<Server> {
    const sockets: Socket[] = [];
    const server = createServer((socket) => {
      sockets.push(socket);
      socket.on("error", () => {});
      socket.resume();
      behave(socket);
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    opened.push(() => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
    return server;
  }

  it("has let go of everything before it says that it is gone", async () => {
    const first = process();
    assert.deepEqual(await first.handover.begin(), { ok: true, value: undefined });
    const did: string[] = [];
    first.handover.serve({
      offer: async () => ({ pid: 1, ports: [80], admin: 9_180 }),
      release: async () => {
        did.push(existsSync(path) ? "released, place kept" : "released");
      },
    });
    void first.handover.replaced.then(() => did.push("replaced"));
    const second = process();
    const offer = await second.handover.begin();
    assert.deepEqual(offer, { ok: true, value: { pid: 1, ports: [80], admin: 9_180 } });
    assert.deepEqual(did, []);
    assert.deepEqual(await second.handover.take(), { ok: true, value: undefined });
    assert.deepEqual(did, ["released", "replaced"]);
    first.handover.close();
    assert.ok(existsSync(path), "the place is the second one's now");
  });

  it("answers who comes while it starts as soon as it has started", async () => {
    const first = process();
    await first.handover.begin();
    const coming = process().handover.begin();
    first.handover.serve({ offer: async () => ({ pid: 1, ports: [] }), release: async () => {} });
    assert.deepEqual(await coming, { ok: true, value: { pid: 1, ports: [] } });
  });

  it("gives up on a process that hangs, and leaves it alone", async () => {
    await fake(() => {});
    const begun = await process(100).handover.begin();
    assert.match(begun.ok ? "" : begun.error, /does not answer: end it first/);
    assert.ok(existsSync(path));
  });

  it("does not take what is no line for an offer", async () => {
    for (const words of ["GET / HTTP/1.1\r\n\r\n", '{"kind":"offer"}\n', "x".repeat(100_000)]) {
      const server = await fake((socket) => socket.write(words));
      const begun = await process(1_000).handover.begin();
      assert.ok(!begun.ok, words.slice(0, 20));
      await new Promise((resolve) => server.close(resolve));
    }
  });

  it("is not kept by who says nothing; who has said who it is may take its time", async () => {
    const clock = new VirtualClock();
    const first = new Handover({ path, clock, log: new MemoryLogger() });
    opened.push(() => first.close());
    await first.begin();
    first.serve({ offer: async () => ({ pid: 1, ports: [] }), release: async () => {} });
    const comers = Array.from({ length: 10 }, () => connect(path));
    opened.push(() => {
      for (const comer of comers) comer.destroy();
    });
    const silent = comers.slice(1);
    const greeter = comers[0]!;
    let offered = "";
    greeter.on("data", (chunk) => {
      offered += chunk;
    });
    greeter.write('{"kind":"hello","pid":2}\n');
    await until("it is answered", () => offered.endsWith("\n"));
    await until("all have come", () => comers.every(({ connecting }) => !connecting));
    for (const one of silent) one.resume();
    const late = process();
    const coming = late.handover.begin();
    clock.advance(1_900);
    assert.ok(silent.every(({ closed }) => !closed));
    clock.advance(200);
    await until("the silent ones are gone", () => silent.every(({ closed }) => closed));
    assert.deepEqual(await coming, { ok: true, value: { pid: 1, ports: [] } });
    clock.advance(117_000);
    assert.ok(!greeter.closed);
    clock.advance(2_000);
    await until("its time is over", () => greeter.closed);
  });

  it("follows a process that ends instead of answering", async () => {
    const server = await fake((socket) => {
      socket.once("data", () => {
        socket.write('{"kind":"offer","offer":{"pid":1,"ports":[]}}\n');
        socket.once("data", () => {
          server.close();
          socket.destroy();
        });
      });
    });
    const { handover } = process();
    assert.ok((await handover.begin()).ok);
    assert.deepEqual(await handover.take(), { ok: true, value: undefined });
    assert.ok(existsSync(path));
  });

  it("lets one of two go first, and the other after it", async () => {
    const first = process();
    await first.handover.begin();
    first.handover.serve({ offer: async () => ({ pid: 1, ports: [] }), release: async () => {} });
    const [second, third] = [process(), process()];
    await second.handover.begin();
    await third.handover.begin();
    for (const [pid, { handover }] of [second, third].entries()) {
      handover.serve({ offer: async () => ({ pid, ports: [] }), release: async () => {} });
    }
    const took = await Promise.all([second.handover.take(), third.handover.take()]);
    assert.deepEqual(
      took.map(({ ok }) => ok),
      [true, true],
    );
    await first.handover.replaced;
    await Promise.race([second.handover.replaced, third.handover.replaced]);
  });
});
