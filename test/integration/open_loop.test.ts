import assert from "node:assert/strict";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { after, describe, it } from "node:test";
import { OpenLoop } from "#bench/load/open_loop.ts";
import { dueIn, perSecond, spanOf } from "#bench/load/request_log.ts";
import { until } from "#test/kit/processes.ts";

type Answer = (response: ServerResponse, priority: string | undefined) => void;

const servers: Server[] = [];

/** A server that does what the test says at the moment. */
async function serve(answer: Answer): Promise<{ port: number; answer: Answer }> {
  const state = { port: 0, answer };
  const server = createServer((asked, response) => {
    state.answer(response, asked.headers["x-priority"]?.toString());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  servers.push(server);
  state.port = (server.address() as AddressInfo).port;
  return state;
}

const well: Answer = (response) => void response.setHeader("x-served-by", "here").end("ok");

describe("open-loop load", () => {
  after(() => {
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
  });

  it("counts the wait of every request that was due during a stall", async () => {
    const stalled: ServerResponse[] = [];
    const server = await serve(well);
    // Two connections: a load that waits for answers would have sent two requests into the stall.
    const load = new OpenLoop({ port: server.port, host: "a", rate: 200, connectionsMax: 2 });
    load.start();
    await until("it flows", () => load.log.count > 100);
    const from = load.now;
    server.answer = (response) => void stalled.push(response);
    await until("half a second is over", () => load.now > from + 500);
    server.answer = well;
    for (const response of stalled) well(response, undefined);
    await until("it flows again", () => load.log.count > 300);
    const log = await load.stop();
    const during = spanOf(log, dueIn(from + 20, from + 400));
    assert.ok(during.count >= 70, `${during.count} requests were due`);
    assert.equal(during.results["2xx"], during.count);
    // Who was due in the first half has waited through all of the second.
    const early = spanOf(log, dueIn(from + 20, from + 250));
    assert.ok(early.good.percentile(1) >= 240_000, `${early.good.percentile(1)} µs`);
    const whole = spanOf(log, () => true);
    assert.ok(whole.good.percentile(80) >= 100_000, "the stall is in the percentiles");
  });

  it("tells what became of each request, by class and by who answered", async () => {
    const server = await serve((response, priority) => {
      if (priority === "critical") well(response, priority);
      else if (priority === "sheddable") response.writeHead(503).end();
      else response.destroy();
    });
    const classes = { critical: 0.4, sheddable: 0.4 };
    const load = new OpenLoop({ port: server.port, host: "a", rate: 500, classes }).start();
    await until("enough have ended", () => load.log.count > 300);
    const log = await load.stop();
    const of = (name: string) => spanOf(log, ({ priority }) => priority === name);
    for (const [name, result] of [
      ["critical", "2xx"],
      ["sheddable", "5xx"],
      ["", "cut"],
    ] as const) {
      const { count, results } = of(name);
      assert.ok(count > 20, `${name}: ${count}`);
      assert.equal(results[result], count, name);
    }
    assert.deepEqual([...of("critical").by.keys()], ["here"]);
    assert.equal(
      perSecond(log).reduce((sum, { count }) => sum + count, 0),
      log.count,
    );
  });

  it("waits for nobody beyond the deadline, and goes on", async () => {
    const server = await serve(() => {});
    const options = { port: server.port, host: "a", rate: 100, connectionsMax: 4, deadlineMs: 100 };
    const load = new OpenLoop(options).start();
    await until("deadlines have passed", () => load.log.count > 30);
    server.answer = well;
    await until("it flows", () => spanOf(load.log, () => true).results["2xx"] > 10);
    const { results, count } = spanOf(await load.stop(), () => true);
    assert.ok(results.deadline > 30);
    assert.equal(results.deadline + results["2xx"], count);
  });

  it("reads answers in chunks, in pieces, and lets a connection go that is announced to end", async () => {
    const server = await serve((response) => {
      response.setHeader("connection", "close");
      response.write("a");
      setImmediate(() => response.end("b".repeat(5_000)));
    });
    const load = new OpenLoop({ port: server.port, host: "a", rate: 200, arrivals: "poisson" });
    load.start();
    await until("enough have ended", () => load.log.count > 50);
    const { results, count } = spanOf(await load.stop(), () => true);
    assert.equal(results["2xx"], count);
  });
});
