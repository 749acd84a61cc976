import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { FIRST_HOP } from "#proxy/authorize/hop.ts";
import { failure } from "#proxy/exchange/failure.ts";
import { outcomeOfHead } from "#proxy/relay/answer_verdict.ts";
import { RelayStand } from "#test/kit/relay.ts";

/** Requests at once that the place has shown to bear; and what it is given where there is no other. */
const LIMIT = 20;
const MOST = 89;

describe("requests where a limit was learnt", () => {
  let stand: RelayStand;

  beforeEach(() => {
    stand = new RelayStand();
  });

  function limited(limit = LIMIT) {
    const service = stand.serviceAt([1, 2]);
    const [locale] = service.service.balancer.locales;
    locale!.limit.limit = limit;
    return { ...service, locale: locale! };
  }

  it("are shed while as many wait for their answers, but for those who have begun to be answered", () => {
    const { ask, locale } = limited();
    for (let i = 0; i < MOST; i++) ask({}, "GET");
    assert.equal(stand.tries.length, MOST);
    assert.equal(ask({}, "GET").answer?.status, 503);
    // Clients that never read the rest hold nobody up.
    for (const one of stand.tries) one.answer(200, [], 1_000);
    assert.deepEqual([locale.inflight, locale.waiting], [MOST, 0]);
    for (let i = 0; i < MOST; i++) ask({}, "GET");
    assert.equal(stand.tries.length, 2 * MOST);
    for (const one of stand.tries.slice(MOST)) one.answer(200);
    for (const { sink } of stand.tries) sink.onAnswerEnd(undefined);
    assert.deepEqual([locale.inflight, locale.waiting], [0, 0]);
  });

  it("do not count while their clients have not sent all of them", () => {
    const { ask, locale } = limited();
    const uploads = Array.from({ length: 2 * MOST }, () => ask({}, "POST", 5));
    assert.equal(stand.tries.length, 2 * MOST);
    const counts = () => [locale.inflight, locale.waiting];
    assert.deepEqual(counts(), [2 * MOST, 0]);
    for (const { exchange } of uploads) {
      exchange.body!.onBody(Buffer.from("12345"));
      exchange.body!.onBodyEnd(undefined);
    }
    assert.deepEqual(counts(), [2 * MOST, 2 * MOST]);
    for (const { waiting, inflight } of locale.endpoints) assert.equal(waiting, inflight);
    assert.equal(ask({}, "GET").answer?.status, 503);
    // However they end, none is counted twice.
    stand.tries.forEach((one, i) => {
      if (i % 3 === 0) one.end(200);
      else if (i % 3 === 1) one.end(500);
      else one.sink.onFailure(failure("closed_early", "test"));
    });
    for (const one of stand.tries)
      if (!one.cancelled) one.sink.onFailure(failure("closed_early", "test"));
    assert.deepEqual(counts(), [0, 0]);
    for (const { waiting, inflight } of locale.endpoints) assert.equal(waiting + inflight, 0);
  });

  it("that are answered too early, or cancelled, do not count any more", () => {
    const { ask, locale } = limited();
    ask({}, "POST", 5);
    stand.tries[0]!.end(413);
    const { exchange } = ask({}, "POST", 5);
    exchange.observer!.onClientGone(failure("client_closed", "test"));
    ask({}, "GET");
    stand.tries[2]!.answer(200, [], 5);
    stand.tries[2]!.sink.onFailure(failure("closed_early", "test"));
    assert.deepEqual([locale.inflight, locale.waiting], [0, 0]);
  });
});

describe("an answer that says no", () => {
  const NOT_HERE: readonly (readonly [string, number, readonly string[], boolean])[] = [
    ["429", 429, [], false],
    ["RESOURCE_EXHAUSTED", 200, ["grpc-status", "8"], true],
  ];
  const NOT_WELL: typeof NOT_HERE = [
    ["503", 503, [], false],
    ["UNAVAILABLE", 200, ["grpc-status", "14"], true],
  ];

  /** The limit that is learnt from such answers after good ones, and how many of two endpoints are ejected. */
  function after([, status, fields, isCall]: (typeof NOT_HERE)[number]) {
    const stand = new RelayStand();
    const { service, ask } = stand.serviceAt([1, 2]);
    const [locale] = service.balancer.locales;
    const hop = { ...FIRST_HOP, retries: 0 };
    const { limit } = locale!;
    let ejected = 0;
    for (let round = 0; round < 600; round++) {
      stand.tries.length = 0;
      for (let i = 0; i < 30; i++) ask({ isCall, hop }, "POST");
      stand.clock.advance(5);
      // Quick ones, so that nothing but what they say can tell.
      const isGood = round < 300;
      for (const one of stand.tries) {
        if (isGood) one.end(200, isCall ? ["grpc-status", "0"] : []);
        else one.end(status, fields.slice());
      }
      ejected = locale!.endpoints.filter((one) => one.isEjected(stand.clock.now())).length;
      if (isGood) assert.deepEqual([limit.limit, ejected], [Number.POSITIVE_INFINITY, 0]);
      else if (limit.limit < 30) break;
      // Here the limit is what is looked at.
      for (const endpoint of locale!.endpoints) endpoint.comeBack(stand.clock.now());
    }
    return { limit: limit.limit, ejected };
  }

  for (const one of [...NOT_HERE, ...NOT_WELL]) {
    it(`lowers the limit, however quick it is (${one[0]})`, () => {
      assert.ok(after(one).limit < 30);
    });
  }

  it("ejects if it is a failure, and not if it only asks for fewer", () => {
    for (const one of NOT_HERE) assert.equal(after(one).ejected, 0, one[0]);
    for (const one of NOT_WELL) assert.equal(after(one).ejected, 2, one[0]);
  });

  it("by a gateway is no matter of what its cluster bears, unless it is full", () => {
    const says = (name: string, kind: string, status = 503): string =>
      outcomeOfHead(
        { isCall: false },
        { status, reason: "", fields: [], body: 0, upgrade: undefined },
        { ...NOTHING_SAID, [name]: kind },
      );
    for (const kind of ["shed", "overloaded"]) assert.equal(says("refused", kind), "overloaded");
    for (const kind of ["no_candidate", "fenced", "loop"]) {
      assert.equal(says("refused", kind), "cancelled");
    }
    assert.equal(says("refused", "rate_limited", 429), "cancelled");
    assert.equal(says("failed", "connect_refused"), "failed");
    assert.equal(says("retries", "1"), "overloaded", "an endpoint's own word");
  });
});

const NOTHING_SAID = {
  ...{ refused: undefined, failed: undefined, retries: undefined },
  ...{ session: undefined, trace: undefined },
};
