import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { classesOf, FaultTree, hostOf, type TreeService } from "#bench/faults/fault_tree.ts";
import { LimitedOrigin } from "#bench/faults/limited_origin.ts";
import { OpenLoop, type OpenLoopOptions } from "#bench/load/open_loop.ts";
import { dueIn, type Entry, type RequestLog, spanOf } from "#bench/load/request_log.ts";
import { until } from "#test/kit/processes.ts";

const HOME = "store-1";
const NEXT_DOOR = "store-2";
const CORE = "core";
/** Requests per second: what other tests leave of a machine is enough for it. */
const RATE = 100;

function roomy(name: string): LimitedOrigin {
  const about = { name, servers: 64, serviceMs: 5, queue: 1_000 };
  return new LimitedOrigin([about, about]);
}

describe("a tree of processes under a constant load", { timeout: 240_000 }, () => {
  const menu = { [HOME]: roomy(HOME), [NEXT_DOOR]: roomy(NEXT_DOOR), [CORE]: roomy(CORE) };
  const stock = { [NEXT_DOOR]: roomy(NEXT_DOOR), [CORE]: roomy(CORE) };
  /** 200 requests per second, and no more. */
  const few = { name: HOME, servers: 5, serviceMs: 50, queue: 1_000 };
  const rush = { [HOME]: new LimitedOrigin([few, few]) };
  const services: readonly TreeService[] = [
    { name: "menu", origins: menu },
    { name: "stock", origins: stock },
    { name: "rush", origins: rush },
  ];
  const origins = [menu, stock, rush].flatMap((places) => Object.values(places));
  let tree: FaultTree;

  before(async () => {
    await Promise.all(origins.map((origin) => origin.start()));
    const places = [
      { name: CORE, delayMs: 20 },
      { name: HOME, delayMs: 1 },
      { name: NEXT_DOOR, delayMs: 1 },
    ];
    tree = await FaultTree.open(places, services, { [HOME]: classesOf("rush") });
  });

  after(async () => {
    await tree?.close();
    await Promise.all(origins.map((origin) => origin.kill()));
  });

  async function load(service: string, more: Partial<OpenLoopOptions> = {}): Promise<OpenLoop> {
    const port = await tree.at(HOME).entrance();
    return new OpenLoop({ port, host: hostOf(service), rate: RATE, ...more }).start();
  }

  /** Waits until so many requests of that kind have ended. */
  function have(running: OpenLoop, count: number, what: string, of: (entry: Entry) => boolean) {
    return until(what, () => spanOf(running.log, of).count >= count);
  }

  /** Statuses of the requests that failed. */
  function failures(log: RequestLog): number[] {
    return [...log.entries()].filter((one) => one.result !== "2xx").map(({ status }) => status);
  }

  it("loses no GET when all endpoints here are killed, and comes home to those that follow", async () => {
    await tree.settled(HOME, "menu", [HOME]);
    const running = await load("menu");
    await have(running, RATE / 2, "home answers", ({ by }) => by === HOME);
    await menu[HOME]!.kill();
    const killedAt = running.now;
    const elsewhere = ({ dueMs, by }: Entry) => dueMs > killedAt && by !== HOME && by !== "";
    await have(running, RATE, "others answer", elsewhere);
    await menu[HOME]!.start();
    const startedAt = running.now;
    const home = ({ dueMs, by }: Entry) => dueMs > startedAt && by === HOME;
    await have(running, RATE, "home answers again", home);
    assert.deepEqual(failures(await running.stop()), []);
  });

  it("loses no GET when the gateway that has the traffic is killed", async () => {
    await tree.settled(HOME, "stock", [NEXT_DOOR]);
    const running = await load("stock");
    await have(running, RATE / 2, "next door answers", ({ by }) => by === NEXT_DOOR);
    await tree.at(NEXT_DOOR).gateway.stop("SIGKILL");
    const killedAt = running.now;
    const core = ({ dueMs, by }: Entry) => dueMs > killedAt && by === CORE;
    await have(running, RATE, "core answers", core);
    const log = await running.stop();
    await tree.at(NEXT_DOOR).startGateway();
    assert.deepEqual(failures(log), []);
  });

  it("loses no GET to a way that swallows everything, and uses it again when it does not", async () => {
    await tree.settled(HOME, "stock", [NEXT_DOOR]);
    const running = await load("stock");
    await have(running, RATE / 2, "next door answers", ({ by }) => by === NEXT_DOOR);
    const { line } = tree.at(NEXT_DOOR);
    line.dark = true;
    const darkAt = running.now;
    const core = ({ dueMs, by }: Entry) => dueMs > darkAt && by === CORE;
    await have(running, 4 * RATE, "core answers", core);
    line.dark = false;
    const lightAt = running.now;
    const back = ({ dueMs, by }: Entry) => dueMs > lightAt && by === NEXT_DOOR;
    await have(running, RATE, "next door answers again", back);
    assert.deepEqual(failures(await running.stop()), []);
  });

  it("leaves home while it is slow", async () => {
    await tree.settled(HOME, "menu", [HOME]);
    const running = await load("menu");
    await have(running, RATE / 2, "home answers", ({ by }) => by === HOME);
    menu[HOME]!.become("slow");
    const slowAt = running.now;
    const elsewhere = ({ dueMs, by }: Entry) => dueMs > slowAt && by !== HOME && by !== "";
    await have(running, RATE, "others answer", elsewhere);
    menu[HOME]!.become("well");
    assert.deepEqual(failures(await running.stop()), []);
  });

  it("retries a share of the requests alone when everybody answers 503", async () => {
    const places = Object.values(stock);
    const received = async (): Promise<number> => {
      const counts = await Promise.all(places.map((origin) => origin.received()));
      return counts.flat().reduce((sum, count) => sum + count, 0);
    };
    await tree.settled(HOME, "stock", [NEXT_DOOR]);
    for (const origin of places) origin.become("503");
    const before = await received();
    const running = await load("stock");
    await have(running, 4 * RATE, "all fail", ({ result }) => result === "5xx");
    const { count } = await running.stop();
    const tries = (await received()) - before;
    const retries = tries - count;
    for (const origin of places) origin.become("well");
    // Not all requests get there: what says 503 teaches that it bears less.
    assert.ok(tries > 0, "endpoints are asked");
    // A fifth, ten per second, and ten seconds' worth of what was saved up.
    const bound = 0.2 * count + (10 * running.now) / 1_000 + 100;
    assert.ok(retries <= bound, `${retries} retries of ${count} requests`);
  });

  it("sends nothing new to a cluster that is drained, and loses nothing by it", async () => {
    await tree.settled(HOME, "stock", [NEXT_DOOR]);
    const running = await load("stock");
    await have(running, RATE / 2, "next door answers", ({ by }) => by === NEXT_DOOR);
    await tree.order("drain", NEXT_DOOR);
    const drainedAt = running.now;
    const core = ({ dueMs, by }: Entry) => dueMs > drainedAt && by === CORE;
    await have(running, RATE, "core answers", core);
    const leftAt = running.now;
    await have(running, RATE, "core answers on", ({ dueMs }) => dueMs > leftAt);
    const stayedTo = running.now;
    await tree.order("undrain", NEXT_DOOR);
    const undrainedAt = running.now;
    const back = ({ dueMs, by }: Entry) => dueMs > undrainedAt && by === NEXT_DOOR;
    await have(running, RATE, "next door answers again", back);
    const log = await running.stop();
    const meanwhile = dueIn(leftAt, stayedTo);
    assert.deepEqual([...spanOf(log, meanwhile).by.keys()], [CORE]);
    assert.deepEqual(failures(log), []);
  });

  it("serves critical requests under twice the load that it can bear, and sheds others at once", async () => {
    await tree.settled(HOME, "rush", [HOME]);
    const classes = { critical: 0.1, sheddable: 0.3 };
    const running = await load("rush", { rate: 4 * RATE, arrivals: "poisson", classes });
    await have(running, 8 * RATE, "it learns", () => true);
    const learntAt = running.now;
    await have(running, 12 * RATE, "it bears", ({ dueMs }) => dueMs > learntAt);
    const log = await running.stop();
    const served = (name: string): number => {
      const of = ({ dueMs, priority }: Entry) => dueMs > learntAt && priority === name;
      const { results, count } = spanOf(log, of);
      return results["2xx"] / count;
    };
    const [critical, usual, sheddable] = [served("critical"), served(""), served("sheddable")];
    const said = `critical ${critical}, default ${usual}, sheddable ${sheddable}`;
    assert.ok(critical > 0.98 && usual < critical && sheddable < usual, said);
    const { results } = spanOf(log, ({ dueMs }) => dueMs > learntAt);
    assert.equal(results.deadline + results.cut, 0);
  });
});
