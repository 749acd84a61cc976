import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import type { Service } from "#model/snapshot.ts";
import { FIRST_HOP } from "#proxy/authorize/hop.ts";
import { failure } from "#proxy/exchange/failure.ts";
import { HedgeDelay } from "#proxy/retry/hedge_delay.ts";
import { RelayStand } from "#test/kit/relay.ts";

const HEDGED = (service: Service): void => {
  service.policy = { hedging: { percentile: 95, minDelayMs: 5 } };
};

describe("the delay of a second try", () => {
  it("is not known before fifty answers, and is a percentile of their times then", () => {
    const delay = new HedgeDelay({ percentile: 95 });
    for (let i = 1; i < 50; i++) delay.add(i);
    assert.equal(delay.delayMs, undefined);
    for (let i = 50; i <= 1_000; i++) delay.add(i);
    for (let i = 0; i < 20; i++) delay.add(500);
    assert.ok(Math.abs(delay.delayMs! - 950) < 95, String(delay.delayMs));
  });

  it("is never less than its policy says, and follows what has become of the times", () => {
    const delay = new HedgeDelay({ percentile: 50, minDelayMs: 20 });
    for (let i = 0; i < 1_000; i++) delay.add(3);
    assert.equal(delay.delayMs, 20);
    for (let i = 0; i < 10_000; i++) delay.add(100);
    assert.ok(delay.delayMs! > 90, String(delay.delayMs));
    for (const odd of [0, 1e9]) delay.add(odd);
  });
});

describe("a hedged request", () => {
  let stand: RelayStand;

  beforeEach(() => {
    stand = new RelayStand();
  });

  /** A service whose answers have taken 10 ms so far. */
  function warm(ports = [1, 2], change = HEDGED) {
    const service = stand.serviceAt(ports, change);
    for (let i = 0; i < 60; i++) {
      service.ask({}, "GET");
      stand.clock.advance(10);
      stand.tries.at(-1)!.end(200);
    }
    stand.tries.length = 0;
    return service;
  }

  const inflight = ({ endpoints }: ReturnType<typeof warm>) =>
    endpoints.map((endpoint) => endpoint.inflight);

  it("is answered by the second try where that is quicker; the first one is let go, and was slow", () => {
    const service = warm();
    const met = service.ask({}, "GET");
    stand.clock.advance(9);
    assert.equal(stand.tries.length, 1);
    stand.clock.advance(3);
    assert.equal(stand.tries.length, 2);
    const [first, second] = stand.tries;
    assert.notEqual(first!.port, second!.port);
    stand.clock.advance(80);
    second!.end(200, ["x-by", "second"]);
    assert.deepEqual(met.answer!.fields.slice(0, 2), ["x-by", "second"]);
    assert.ok(first!.cancelled);
    assert.deepEqual(inflight(service), [0, 0]);
    assert.deepEqual([service.stats.hedges, service.stats.hedgeWins], [1, 1]);
    const slow = service.endpoints.find(({ endpoint }) => endpoint.port === first!.port)!;
    assert.ok(slow.ewma.read(stand.clock.now()) > 85, "what it took until then is remembered");
    assert.equal(slow.outlier.failures, 0, "and nothing else");
  });

  it("is answered by the first try where that is quicker after all", () => {
    const service = warm();
    const met = service.ask({}, "GET");
    stand.clock.advance(15);
    stand.tries[0]!.end(200, ["x-by", "first"]);
    assert.deepEqual(met.answer!.fields.slice(0, 2), ["x-by", "first"]);
    assert.ok(stand.tries[1]!.cancelled);
    assert.deepEqual(inflight(service), [0, 0]);
    assert.deepEqual([service.stats.hedges, service.stats.hedgeWins], [1, 0]);
    stand.clock.advance(100);
    assert.equal(stand.tries.length, 2);
  });

  it("waits for the other try where one fails, whichever that is", () => {
    for (const failing of [0, 1]) {
      stand = new RelayStand();
      const service = warm();
      const met = service.ask({}, "GET");
      stand.clock.advance(15);
      stand.tries[failing]!.end(503);
      assert.equal(met.answer, undefined);
      stand.tries[1 - failing]!.end(200);
      assert.equal(met.answer!.status, 200);
      assert.equal(stand.tries.length, 2);
      assert.deepEqual(inflight(service), [0, 0]);
    }
  });

  it("goes on as any other where both have failed, within its retries", () => {
    const service = warm([1, 2, 3]);
    const met = service.ask({ hop: { ...FIRST_HOP, retries: 2 } }, "GET");
    stand.clock.advance(15);
    stand.tries[0]!.sink.onFailure(failure("closed_early", ""));
    stand.tries[1]!.sink.onFailure(failure("closed_early", ""));
    assert.equal(stand.tries.length, 3);
    assert.notEqual(stand.tries[2]!.port, stand.tries[0]!.port);
    stand.tries[2]!.end(503);
    assert.equal(met.answer!.status, 503);
    assert.deepEqual(inflight(service), [0, 0, 0]);
  });

  it("leaves nothing behind at its deadline, nor if its client goes", () => {
    for (const end of ["deadline", "gone"]) {
      stand = new RelayStand();
      const service = warm();
      const { exchange } = service.ask({ deadlineMs: 100 }, "GET");
      stand.clock.advance(15);
      assert.equal(stand.tries.length, 2);
      if (end === "gone") exchange.clientGone();
      else stand.clock.advance(200);
      assert.ok(
        stand.tries.every(({ cancelled }) => cancelled),
        end,
      );
      assert.deepEqual(inflight(service), [0, 0], end);
      assert.equal(service.stats.inflight, 0);
    }
  });

  it("has its whole body sent twice, and is not hedged while that still comes", () => {
    const service = warm();
    const { exchange } = service.ask({}, "PUT", 6);
    exchange.body!.onBody(Buffer.from("abc"));
    stand.clock.advance(50);
    assert.equal(stand.tries.length, 1);
    const second = service.ask({}, "PUT", 6);
    second.exchange.body!.onBody(Buffer.from("abcdef"));
    second.exchange.body!.onBodyEnd(undefined);
    stand.clock.advance(50);
    assert.deepEqual(
      stand.tries.map(({ sent }) => sent),
      [3, 6, 6],
    );
  });

  for (const [what, change, method] of [
    ["a method that may not be repeated", {}, "POST"],
    ["a session that is bound to its endpoint", { session: "0123456789abcdef" }, "GET"],
    ["no retry left", { hop: { ...FIRST_HOP, retries: 0 } }, "GET"],
  ] as const) {
    it(`is none with ${what}`, () => {
      const { ask } = warm();
      ask(change, method);
      stand.clock.advance(500);
      assert.equal(stand.tries.length, 1);
    });
  }

  it("is none if it asks for another protocol, nor where there is but one endpoint", () => {
    const { ask } = warm();
    const head = { method: "GET", target: "/", authority: "a", fields: [], body: 0 };
    ask({ head: { ...head, upgrade: "websocket", takesTrailers: false } }, "GET");
    stand.clock.advance(500);
    assert.equal(stand.tries.length, 1);
    stand = new RelayStand();
    warm([1]).ask({}, "GET");
    stand.clock.advance(500);
    assert.equal(stand.tries.length, 1);
  });

  it("is paid for like a retry: where all are slow, a fifth of them are hedged", () => {
    const { ask, stats } = warm([1, 2, 3]);
    for (let i = 0; i < 2_000; i++) {
      ask({}, "GET");
      stand.clock.advance(1);
    }
    assert.ok(stats.hedges < 2_000 * 0.2 + 10 * 2 + 100, String(stats.hedges));
    assert.ok(stats.hedges > 300, String(stats.hedges));
  });
});
