import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { pathToFileURL } from "node:url";
import { type Clock, systemClock } from "#kernel/clock.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { seededRng } from "#kernel/rng.ts";
import { HeldPorts } from "#proxy/app/held_ports.ts";
import { WorkerPool } from "#proxy/app/worker_pool.ts";
import { get, TestOrigin } from "#test/kit/http.ts";
import { freePort } from "#test/kit/ports.ts";
import { ROOT, until } from "#test/kit/processes.ts";
import { simpleSnapshot } from "#test/kit/proxy.ts";

/** A time that does not pass by itself in any test. */
const LONG_MS = 600_000;
const WORKER = pathToFileURL(`${ROOT}/cli/worker.ts`);

/**
 * A clock, of which all limits of `ms` that are running are over when `pass` is called; what is done twice as often is
 * done each second. However slow the machine is, nobody is taken for hung who is not.
 */
function limitsOf(ms: number): { clock: Clock; pass(): void } {
  const running = new Set<() => void>();
  const after: Clock["after"] = (delayMs, fn) => {
    if (delayMs !== ms) return systemClock.after(delayMs, fn);
    running.add(fn);
    return { cancel: () => running.delete(fn) };
  };
  const every: Clock["every"] = (periodMs, fn) =>
    systemClock.every(periodMs === ms / 2 ? 1_000 : periodMs, fn);
  const pass = (): void => {
    for (const fn of [...running]) fn();
    running.clear();
  };
  return { clock: { ...systemClock, after, every }, pass };
}

function whyEnded({ lines }: MemoryLogger): unknown {
  return lines.find(({ message }) => message.startsWith("worker ended"))?.fields["why"];
}

describe("a pool of workers", { timeout: 120_000 }, () => {
  let dir: string;
  const origin = new TestOrigin("one");
  const pools: WorkerPool[] = [];
  const servers: Server[] = [];
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "espalier-pool-"));
    await origin.start();
  });
  afterEach(async () => {
    await Promise.all(pools.splice(0).map((pool) => pool.drain(0)));
    await origin.stop();
    for (const server of servers.splice(0)) {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    }
    await rm(dir, { recursive: true });
  });

  function pool(
    workers: number,
    program = WORKER,
    answerMs = 10_000,
    held = new HeldPorts(),
    clock: Clock = systemClock,
  ) {
    const log = new MemoryLogger();
    const started = new WorkerPool({
      ...{ workers, program, log, answerMs, held, clock },
      rng: seededRng(1),
      accessLog: join(dir, "access.log"),
    });
    pools.push(started);
    return { pool: started, log };
  }

  /** A worker's program of which the process that comes as `turn` does `odd`, and all others what they should. */
  async function oddOnce(odd: string, turn = 1): Promise<URL> {
    const path = join(dir, "worker.mjs");
    const text = [
      'import { mkdirSync } from "node:fs";',
      "const came = (n) => {",
      `  try { mkdirSync(${JSON.stringify(join(dir, "came"))} + n); return n; } catch { return came(n + 1); }`,
      "};",
      `if (came(1) === ${turn}) { ${odd} }`,
      `else await import(${JSON.stringify(WORKER.href)});`,
    ];
    await writeFile(path, text.join("\n"));
    return pathToFileURL(path);
  }

  const pidsOf = async (of: WorkerPool): Promise<number[]> =>
    (await of.inventory()).map((one) => one.process);

  it("serves by its other workers while one hangs at its start, and replaces that one", async () => {
    const program = await oddOnce("Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);");
    const { clock, pass } = limitsOf(LONG_MS);
    const { pool: two, log } = pool(2, program, LONG_MS, new HeldPorts(), clock);
    const port = await freePort();
    two.apply(simpleSnapshot([origin.port], { listenerPort: port }));
    const body = () =>
      get(port).then(
        (answer) => answer.body,
        () => "",
      );
    await until("one serves", async () => (await body()) === "one");
    assert.equal(whyEnded(log), undefined);
    pass();
    await until("both answer", async () => (await pidsOf(two)).length === 2);
    assert.equal(whyEnded(log), `no answer for ${LONG_MS} ms`);
    assert.deepEqual((await two.settled())[0]!.problem, undefined);
  });

  it("finds out one that hangs although nobody asks it anything, and has another one check", async () => {
    const endpoint = await asked();
    const { clock } = limitsOf(LONG_MS);
    const { pool: two, log } = pool(2, WORKER, LONG_MS, new HeldPorts(), clock);
    two.apply(endpoint.snapshot);
    await two.settled();
    await untilThought(two, "HTTP 200");
    const [checker] = await askers(two);
    const [other] = (await pidsOf(two)).filter((pid) => pid !== checker);
    process.kill(checker!, "SIGSTOP");
    endpoint.status = 503;
    await until("it is missed", () => whyEnded(log) !== undefined);
    assert.equal(whyEnded(log), `no sign of life for ${2 * LONG_MS} ms`);
    await until("another asks", async () => (await askers(two)).includes(other!));
    await untilThought(two, "HTTP 503");
  });

  it("says that none starts where each hangs", async () => {
    const path = join(dir, "hangs.mjs");
    await writeFile(path, "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);");
    const { pool: one } = pool(1, pathToFileURL(path), 100);
    one.apply(simpleSnapshot([origin.port]));
    await assert.rejects(one.settled(), /no worker process serves.*no answer for 100 ms/);
  });

  it("takes up a reload that comes while its first worker is being started again", async () => {
    const { pool: two, log } = pool(2);
    two.apply(simpleSnapshot([origin.port]));
    const [before] = await two.settled();
    const [first] = await pidsOf(two);
    process.kill(first!, "SIGKILL");
    await until("it is missed", () => log.lines.length > 0);
    const other = new TestOrigin("two");
    await other.start();
    two.apply(simpleSnapshot([other.port], { revision: "2" }));
    const [after] = await two.settled();
    assert.deepEqual(after, before, "the same port, though the system chose it");
    assert.equal((await get(after!.bound!.port)).body, "two");
    await until("both run", async () => (await pidsOf(two)).length === 2);
    // Also the one that did not choose the port keeps it when it is the first to answer.
    two.apply(simpleSnapshot([origin.port], { revision: "3" }));
    assert.deepEqual(await two.settled(), [before]);
    for (let i = 0; i < 20; i++) assert.equal((await get(before!.bound!.port)).body, "one");
    await other.stop();
  });

  it("is not ready while no worker runs", async () => {
    const { pool: one } = pool(1);
    one.apply(simpleSnapshot([origin.port]));
    await one.settled();
    const [pid] = await pidsOf(one);
    process.kill(pid!, "SIGKILL");
    await until("it is not ready", async () => (await one.settled())[0]?.problem !== undefined);
    await until("it is again", async () => (await one.settled())[0]?.problem === undefined);
  });

  it("opens the ports in a worker that is started again after a takeover", async () => {
    const port = await freePort();
    const held = new HeldPorts([port]);
    const { pool: two } = pool(2, WORKER, 10_000, held);
    const snapshot = simpleSnapshot([origin.port]);
    const listeners = snapshot.listeners.map((listener) => ({ ...listener, port }));
    two.apply({ ...snapshot, listeners });
    const statuses = await two.settled();
    // What a `Succession` does once the process before drains.
    held.replace([]);
    const before = await pidsOf(two);
    process.kill(before[0]!, "SIGKILL");
    await until("another has come", async () => {
      const now = await pidsOf(two);
      return now.length === 2 && !now.includes(before[0]!);
    });
    const clients: Socket[] = [];
    await until("both take clients", async () => {
      clients.push(connect({ port, host: "127.0.0.1" }));
      return (await two.inventory()).every(({ clientsOpen }) => clientsOpen > 0);
    });
    for (const client of clients) client.destroy();
    assert.deepEqual(await two.settled(), statuses);
  });

  it("is not ready while a worker that was started again has no socket", async () => {
    const says = 'value: [{ name: "http", problem: "EMFILE" }]';
    const odd = `process.on("message", ({ kind, id }) => {
      if (kind === "ask") process.send({ kind: "answer", id, ${says} });
      if (kind === "drain") process.exit();
    });`;
    const { pool: two } = pool(2, await oddOnce(odd, 3));
    two.apply(simpleSnapshot([origin.port]));
    const [before] = await two.settled();
    assert.equal(before!.problem, undefined);
    process.kill((await pidsOf(two))[0]!, "SIGKILL");
    await until("it says so", async () =>
      /^worker [01]: EMFILE$/.test((await two.settled())[0]?.problem ?? ""),
    );
    assert.deepEqual((await two.settled())[0]!.bound, before!.bound, "another worker serves it");
  });

  /** A server that is asked how it is. */
  async function asked() {
    const health = { status: 200, times: 0 };
    const server = createServer((_question, answer) => {
      health.times++;
      answer.writeHead(health.status).end();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    servers.push(server);
    const { port } = server.address() as AddressInfo;
    const simple = simpleSnapshot([port]);
    const check = { path: "/", statuses: [{ from: 200, to: 299 }] };
    const healthCheck = {
      ...{ http: check, intervalMs: 500, timeoutMs: 500 },
      ...{ unhealthyThreshold: 2, healthyThreshold: 2 },
    };
    const services = simple.services.map((service) => ({ ...service, healthCheck }));
    return Object.assign(health, { snapshot: { ...simple, services } });
  }

  /** What each worker thinks of the one endpoint. */
  async function thoughts(of: WorkerPool): Promise<string[]> {
    const all = await of.inventory();
    return all.map(({ services }) => services[0]?.endpoints[0]?.check?.reason ?? "nothing");
  }

  /** Processes that have opened connections to endpoints. */
  async function askers(of: WorkerPool): Promise<number[]> {
    const all = await of.inventory();
    return all.filter(({ upstreams }) => upstreams.length > 0).map((one) => one.process);
  }

  async function untilThought(of: WorkerPool, what: string): Promise<void> {
    await until(`both think ${what}`, async () => {
      const all = await thoughts(of);
      return all.length === 2 && all.every((thought) => thought === what);
    });
  }

  it("has one worker check endpoints for all, and another when that one dies", async () => {
    const endpoint = await asked();
    const { pool: two } = pool(2);
    two.apply(endpoint.snapshot);
    await two.settled();
    await untilThought(two, "HTTP 200");
    await until("it was asked often", () => endpoint.times >= 5);
    const [checker, ...more] = await askers(two);
    assert.deepEqual(more, []);

    endpoint.status = 503;
    await untilThought(two, "HTTP 503");
    assert.equal((await two.reports())[0]!.healthy, 0);

    const [other] = (await pidsOf(two)).filter((pid) => pid !== checker);
    process.kill(checker!, "SIGKILL");
    await until("another asks", async () => (await askers(two)).includes(other!));
    endpoint.status = 200;
    await until("another has come", async () => (await pidsOf(two)).length === 2);
    await untilThought(two, "HTTP 200");
    assert.deepEqual(await askers(two), [other]);
  });

  it("tells a worker that comes late what is known of endpoints", async () => {
    const endpoint = await asked();
    endpoint.status = 404;
    const { pool: two } = pool(2);
    two.apply(endpoint.snapshot);
    await two.settled();
    await untilThought(two, "HTTP 404");
    const [checker] = await askers(two);
    const [other] = (await pidsOf(two)).filter((pid) => pid !== checker);
    process.kill(other!, "SIGKILL");
    await until("it is gone", async () => !(await pidsOf(two)).includes(other!));
    // Nothing changes, so nobody would say it again by itself.
    await untilThought(two, "HTTP 404");
    assert.deepEqual(await askers(two), [checker]);
  });
});
