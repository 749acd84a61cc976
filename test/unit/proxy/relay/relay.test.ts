import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { FIRST_HOP } from "#proxy/authorize/hop.ts";
import { failure } from "#proxy/exchange/failure.ts";
import { failuresIn, RelayStand } from "#test/kit/relay.ts";

describe("a relay", () => {
  let stand: RelayStand;

  beforeEach(() => {
    stand = new RelayStand();
  });

  const failuresOf = (of: { readonly outlier: { readonly failures: number } }): number =>
    of.outlier.failures;

  it("holds nothing against an endpoint that a try has only waited for, and stand.tries another", () => {
    const { ask, endpoints } = stand.serviceAt([1, 2]);
    stand.stage = "waits";
    const met = ask({ tryTimeoutMs: 100 });
    stand.stage = "begun";
    stand.clock.advance(150);
    assert.deepEqual(
      stand.tries.map(({ cancelled }) => cancelled),
      [true, false],
      "not a byte of a POST had left",
    );
    assert.notEqual(stand.tries[0]!.port, stand.tries[1]!.port);
    assert.deepEqual(endpoints.map(failuresOf), [0, 0]);
    stand.tries[1]!.answer(200);
    stand.tries[1]!.sink.onAnswerEnd(undefined);
    assert.equal(met.answer!.status, 200);
  });

  it("calls an endpoint unreachable that takes no connection within a try's time, and stand.tries another", () => {
    const { ask, endpoints } = stand.serviceAt([1, 2]);
    stand.stage = "connects";
    ask({ tryTimeoutMs: 100 });
    stand.stage = "begun";
    stand.clock.advance(150);
    assert.equal(stand.tries.length, 2);
    assert.deepEqual(endpoints.map(failuresOf).sort(), [0, 2]);
  });

  it("does not repeat what may have been read when a try's time is over", () => {
    const { ask, endpoints } = stand.serviceAt([1, 2]);
    const met = ask({ tryTimeoutMs: 100 });
    stand.clock.advance(200);
    assert.equal(stand.tries.length, 1);
    assert.equal(met.answer!.status, 504);
    assert.deepEqual(endpoints.map(failuresOf).sort(), [0, 1]);
  });

  it("holds nothing against an endpoint that wants a request elsewhere", () => {
    const { ask, endpoints } = stand.serviceAt([1, 2]);
    ask();
    stand.tries[0]!.sink.onFailure(failure("refused_stream", ""));
    assert.equal(stand.tries.length, 2);
    assert.deepEqual(endpoints.map(failuresOf), [0, 0]);
  });

  for (const [at, failures, refused] of [
    ["waits", 0, "deadline"],
    ["connects", 1, "deadline"],
    ["begun", 1, undefined],
  ] as const) {
    it(`says at its deadline whether anybody can have acted on it (${at})`, () => {
      const { ask, endpoints } = stand.serviceAt([1]);
      stand.stage = at;
      const met = ask({ deadlineMs: 100 });
      stand.clock.advance(200);
      const { status, fields } = met.answer!;
      assert.equal(status, 504);
      const told = fields.indexOf("x-mesh-refused");
      assert.equal(told < 0 ? undefined : fields[told + 1], refused);
      assert.deepEqual(endpoints.map(failuresOf), [failures]);
    });
  }

  it("has one try at a time, also when a try's limit would pass while the next one waits its turn", () => {
    const { ask } = stand.serviceAt([1, 2, 3]);
    const retry = {
      statuses: undefined,
      grpcStatuses: undefined,
      attempts: undefined,
      backoffMs: 500,
    };
    ask({ tryTimeoutMs: 300, retry }, "GET");
    stand.clock.advance(200);
    stand.tries[0]!.answer(503);
    stand.clock.advance(300);
    assert.equal(stand.tries.length, 1);
    stand.clock.advance(300);
    assert.equal(stand.tries.length, 2);
  });

  for (const [retries, statuses] of [
    [1, [504, 200]],
    [0, [503]],
  ] as const) {
    it(`counts a status that says "not now" as what it is, tried again ${retries} times`, () => {
      const { ask, stats } = stand.serviceAt([1, 2]);
      const met = ask({ hop: { ...FIRST_HOP, retries } }, "GET");
      for (const status of statuses) {
        const last = stand.tries.at(-1)!;
        last.answer(status);
        if (!last.cancelled) last.sink.onAnswerEnd(undefined);
      }
      assert.equal(met.answer!.status, statuses.at(-1));
      assert.deepEqual(failuresIn(stats), ["retryable_status"]);
    });
  }

  it("opens a tunnel that lives until both sides have ended it, whatever body the request had", () => {
    const { ask, stats } = stand.serviceAt([1]);
    const met = ask({}, "GET", 1);
    met.exchange.body!.onBody(Buffer.from("x"));
    met.exchange.body!.onBodyEnd(undefined);
    stand.tries[0]!.answer(101);
    stand.tries[0]!.sink.onAnswerEnd(undefined);
    assert.equal(stats.tunnels, 1);
    met.exchange.body!.onBodyEnd(undefined);
    assert.equal(stats.tunnels, 0);
  });
});
