import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import type { Service } from "#model/snapshot.ts";
import { FIRST_HOP } from "#proxy/authorize/hop.ts";
import { type FailureName, failure } from "#proxy/exchange/failure.ts";
import { fieldValue } from "#proxy/exchange/fields.ts";
import { REPLAY_BYTES_MAX } from "#proxy/relay/replay_body.ts";
import { RelayStand } from "#test/kit/relay.ts";

/** A service behind gateways of another cluster. */
function elsewhere(service: Service): void {
  const [locale] = service.locales;
  locale!.kind = "child";
  for (const endpoint of locale!.endpoints) endpoint.identity = "spiffe://a.acme.mesh/mesh/gateway";
}

describe("the retries of a request", () => {
  let stand: RelayStand;

  beforeEach(() => {
    stand = new RelayStand();
  });

  const saidLeft = (met: { answer?: { fields: string[] } }) =>
    fieldValue(met.answer!.fields, "x-mesh-retries");

  it("are given on but for one, and what comes back is there again", () => {
    const { ask } = stand.serviceAt([1, 2, 3, 4], elsewhere);
    const met = ask({}, "GET");
    assert.equal(stand.tries[0]!.said("x-mesh-retries"), "2");
    // It has spent one of its two.
    stand.tries[0]!.end(503, ["x-mesh-retries", "1"]);
    assert.equal(stand.tries[1]!.said("x-mesh-retries"), "0", "3, less 1, less this one");
    // It had none to spend, and says nothing.
    stand.tries[1]!.end(503);
    assert.equal(stand.tries[2]!.said("x-mesh-retries"), "0");
    stand.tries[2]!.end(503);
    assert.equal(stand.tries.length, 3, "four tries in all, one of them further on");
    assert.equal(met.answer!.status, 503);
    assert.equal(saidLeft(met), "0");
  });

  it("are taken for spent where the next gateway is lost without a word", () => {
    const { ask } = stand.serviceAt([1, 2, 3], elsewhere);
    ask({}, "GET");
    stand.tries[0]!.sink.onFailure(failure("closed_early", ""));
    assert.equal(stand.tries[1]!.said("x-mesh-retries"), "0");
    stand.tries[1]!.sink.onFailure(failure("closed_early", ""));
    assert.equal(stand.tries.length, 2, "each of the two might have made two");
  });

  it("are not spent where the request has not left", () => {
    const { ask } = stand.serviceAt([1, 2, 3, 4, 5], elsewhere);
    ask();
    const left = [];
    for (let i = 0; i < 4; i++) {
      left.push(stand.tries[i]!.said("x-mesh-retries"));
      stand.tries[i]!.sink.onFailure(failure("connect_refused", ""));
    }
    assert.deepEqual(left, ["2", "1", "0", "0"]);
    assert.equal(stand.tries.length, 4);
  });

  it("are borne by our budget too if a gateway further on has spent them", () => {
    const { ask, stats } = stand.serviceAt([1, 2], elsewhere);
    // Ten are there, and a fifth of one with each request.
    for (let i = 0; i < 5; i++) {
      ask({}, "POST");
      stand.tries.at(-1)!.end(503, ["x-mesh-retries", "0"]);
    }
    ask({}, "GET");
    stand.tries.at(-1)!.end(503);
    assert.equal(stand.tries.length, 7);
    ask({}, "GET");
    stand.tries.at(-1)!.end(503);
    assert.deepEqual([stand.tries.length, stats.retriesDenied], [8, 1]);
  });

  it("are told to the gateway before us only where some are spent", () => {
    const { ask } = stand.serviceAt([1, 2]);
    const whole = ask({}, "GET");
    stand.tries[0]!.end(200);
    assert.equal(saidLeft(whole), undefined);
    const spent = ask({}, "GET");
    stand.tries[1]!.end(503);
    stand.tries[2]!.end(200);
    assert.equal(saidLeft(spent), "2");
  });

  it("stay where a gateway refuses for a reason that holds everywhere", () => {
    const { ask } = stand.serviceAt([1, 2], elsewhere);
    const met = ask({}, "GET");
    stand.tries[0]!.end(429, ["x-mesh-refused", "rate_limited"]);
    assert.equal(stand.tries.length, 1);
    assert.equal(met.answer!.status, 429);
    assert.equal(fieldValue(met.answer!.fields, "x-mesh-refused"), "rate_limited");
  });

  for (const [bytes, tries] of [
    [REPLAY_BYTES_MAX, 2],
    [REPLAY_BYTES_MAX + 1, 1],
  ] as const) {
    it(`are ${tries - 1} for a body of ${bytes} bytes`, () => {
      assert.equal(REPLAY_BYTES_MAX, 65_536);
      const { ask } = stand.serviceAt([1, 2]);
      const { exchange } = ask({}, "PUT", bytes);
      exchange.body!.onBody(Buffer.alloc(REPLAY_BYTES_MAX));
      if (bytes > REPLAY_BYTES_MAX) exchange.body!.onBody(Buffer.alloc(1));
      exchange.body!.onBodyEnd(undefined);
      stand.tries[0]!.end(503);
      assert.equal(stand.tries.length, tries);
      assert.deepEqual(
        stand.tries.map(({ sent }) => sent),
        Array(tries).fill(bytes),
      );
    });
  }

  /** Requests, 1,000/s for ten seconds, whose every try fails at once. Returns the tries. */
  function allFail(fail: (of: RelayStand["tries"][number]) => void, change = elsewhere): number {
    const { ask } = stand.serviceAt([1, 2, 3], change);
    let seen = 0;
    for (let i = 0; i < 10_000; i++) {
      ask({ hop: FIRST_HOP }, "GET");
      for (; seen < stand.tries.length; seen++) fail(stand.tries[seen]!);
      stand.clock.advance(1);
    }
    return seen;
  }
  /** 20 % and 10/s, and what can have been saved. */
  const MOST = 10_000 * 1.2 + 10 * 10 + 100;

  for (const kind of ["connect_refused", "link_down", "refused_stream"] satisfies FailureName[]) {
    it(`are a fifth of the traffic where everything fails with ${kind}`, () => {
      const tries = allFail(({ sink }) => sink.onFailure(failure(kind, "")));
      assert.ok(tries <= MOST + 3, String(tries));
      assert.ok(tries > 11_500, String(tries));
    });
  }

  for (const kind of ["no_candidate", "shed"]) {
    it(`are a fifth of the traffic where every gateway refuses with ${kind}`, () => {
      const tries = allFail((one) => one.end(503, ["x-mesh-refused", kind]));
      assert.ok(tries <= MOST + 3, String(tries));
    });
  }

  it("are free for what was under way when a gateway was lost, however much it was", () => {
    const { ask, stats } = stand.serviceAt([1, 2], elsewhere);
    const met = Array.from({ length: 600 }, () => ask({}, "GET"));
    const lost = stand.tries.filter(({ port }) => port === 1);
    assert.ok(lost.length > 200);
    for (const { sink } of lost) sink.onFailure(failure("link_down", ""));
    for (const one of stand.tries.filter(({ port }) => port === 2)) one.end(200);
    assert.equal(stats.retriesDenied, 0);
    assert.ok(met.every(({ answer }) => answer?.status === 200));
  });

  it("are as its policy says, each worker's part", () => {
    const none = (service: Service) => {
      service.policy = { retries: { budgetShare: 0, budgetPerSecond: 0 } };
    };
    assert.equal(
      allFail((one) => one.end(503), none),
      10_000,
    );
  });

  it("run at once no more than its policy says, free ones too", () => {
    const { ask, stats } = stand.serviceAt([1, 2], (service) => {
      elsewhere(service);
      service.policy = { limits: { retries: 3 } };
    });
    for (let i = 0; i < 20; i++) ask({}, "GET");
    for (const { sink } of stand.tries.slice(0, 20)) sink.onFailure(failure("link_down", ""));
    assert.equal(stand.tries.length, 23);
    assert.equal(stats.retriesDenied, 17);
    for (const one of stand.tries.slice(20)) one.end(200);
    ask({}, "GET");
    stand.tries.at(-1)!.end(503);
    assert.equal(stand.tries.length, 25, "what has ended makes room");
  });
});
