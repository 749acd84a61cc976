import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { ErrorCode, FrameType, Setting } from "#proxy/http2/frames.ts";
import { Speech } from "#test/kit/http2_ends.ts";
import { frame, type HeardFrame, takeFrames, word } from "#test/kit/http2_raw.ts";
import { type Asked, HeldOrigin, TestPools } from "#test/kit/pool.ts";
import { until } from "#test/kit/processes.ts";

const PREFACE_BYTES = 24;

describe("a pool over HTTP/2 that no snapshot names any more", () => {
  it("serves who waits, on a connection that ends with them", async (t) => {
    const origin = await HeldOrigin.start();
    const pools = new TestPools(origin.port, { max: 1 }, { http2: true });
    t.after(() => {
      pools.stop();
      origin.stop();
    });
    const settings = Speech.settings([Setting.MAX_CONCURRENT_STREAMS, 1]);
    const first = pools.ask("/0");
    await until("a connection", () => origin.sockets.length === 1);
    origin.sockets[0]!.write(settings);
    await until("one stream is all that it may have", () =>
      heard(origin, 0).some(({ type, flags }) => type === FrameType.SETTINGS && flags === 1),
    );
    const others = [pools.ask("/1"), pools.ask("/2")];
    assert.deepEqual(pools.count, [1, 0, 2]);
    pools.upstreams.retain([]);
    origin.sockets[0]!.write(new Speech().answer(1, "200", true));
    await until("the first has ended", () => first.ended);
    await until("the others are asked", () =>
      heard(origin, 1).some(({ type, stream }) => type === FrameType.HEADERS && stream === 3),
    );
    const speech = new Speech();
    const answers = [1, 3].map((id) => speech.answer(id, "200", true));
    origin.sockets[1]!.write(Buffer.concat([settings, ...answers]));
    await until("the others have ended", () => others.every(({ ended }) => ended));
    await until("the connections have ended", () => origin.closed === 2);
  });
});

/** Frames that connection `i` was sent. */
function heard(origin: HeldOrigin, i: number): HeardFrame[] {
  const frames: HeardFrame[] = [];
  takeFrames(Buffer.from(origin.said[i]?.slice(PREFACE_BYTES) ?? "", "latin1"), frames);
  return frames;
}

describe("the limit of connections over HTTP/2", () => {
  let origin: HeldOrigin;
  let pools: TestPools;

  const begin = async (max: number, requests: number, pending = 1024): Promise<void> => {
    origin = await HeldOrigin.start();
    pools = new TestPools(origin.port, { max, requests, pending }, { http2: true });
  };
  afterEach(() => {
    pools.stop();
    origin.stop();
  });

  const askedOn = (i: number): number[] =>
    heard(origin, i)
      .filter(({ type }) => type === FrameType.HEADERS)
      .map(({ stream }) => stream);
  const settle = async (i: number, settings: readonly number[] = []): Promise<void> => {
    await until(`connection ${i}`, () => origin.sockets.length > i);
    origin.sockets[i]!.write(Speech.settings(settings));
  };

  it("leaves out one that has had its requests and ends with a long one", async () => {
    await begin(1, 2);
    const long = pools.ask("/long");
    const last = pools.ask("/last");
    const next = pools.ask("/next");
    assert.deepEqual(pools.count, [2, 0, 0]);
    await settle(0);
    await until("two on the first", () => askedOn(0).length === 2);
    await settle(1);
    await until("the other on the second", () => askedOn(1).length === 1);
    origin.sockets[1]!.write(new Speech().answer(1, "200", true));
    await until("it is answered", () => next.ended);
    assert.deepEqual([long.ended, last.ended, pools.count[0]], [false, false, 2]);
  });

  it("bounds those that end as well, and serves who waits when one of them has ended", async () => {
    await begin(1, 1, 1);
    const running = [pools.ask("/0"), pools.ask("/1")];
    const waiting = pools.ask("/2");
    assert.deepEqual(pools.count, [2, 0, 1]);
    const tooMany = pools.ask("/3");
    await until("one more fails", () => tooMany.failure?.kind === "overloaded");
    await settle(0);
    await until("the first is asked", () => askedOn(0).length === 1);
    origin.sockets[0]!.write(new Speech().answer(1, "200", true));
    await until("it is answered", () => running[0]!.ended);
    await settle(2);
    await until("who waited is asked", () => askedOn(2).length === 1);
    origin.sockets[2]!.write(new Speech().answer(1, "200", true));
    await until("it is answered too", () => waiting.ended);
    assert.equal(running[1]!.ended, false);
  });

  it("when it is raised, serves all who wait, one request to a connection", async () => {
    await begin(1, 1);
    for (let i = 0; i < 300; i++) pools.ask(`/${i}`);
    assert.deepEqual(pools.count, [2, 0, 298]);
    pools.follow({ max: 150, requests: 1 });
    assert.deepEqual(pools.count, [300, 0, 0]);
  });

  it("when it is lowered, lets go those that take requests, not those that are ending anyhow", async () => {
    await begin(2, 1);
    for (const target of ["/0", "/1"]) pools.ask(target);
    pools.follow({ max: 1, requests: 100 });
    const next = pools.ask("/2");
    assert.deepEqual(pools.count, [2, 0, 1]);
    await settle(0);
    await until("the first is asked", () => askedOn(0).length === 1);
    origin.sockets[0]!.write(new Speech().answer(1, "200", true));
    await settle(2);
    await until("the next is asked", () => askedOn(2).length === 1);
    pools.follow({ max: 1, requests: 101 });
    origin.sockets[2]!.write(new Speech().answer(1, "200", true));
    await until("it is answered", () => next.ended);
    assert.deepEqual(pools.count, [2, 1, 0]);
  });
});

describe("a connection over HTTP/2 that leads nowhere any more", () => {
  it("is replaced after a request in vain, also where there may be one only", async (t) => {
    const origin = await HeldOrigin.start();
    const pools = new TestPools(origin.port, { max: 1 }, { http2: true });
    t.after(() => {
      pools.stop();
      origin.stop();
    });
    const [inVain, other] = [pools.ask("/0"), pools.ask("/1")];
    await until("both are asked", () => heard(origin, 0).some(({ stream }) => stream === 3));
    inVain.stream!.cancel();
    // Whose request has failed tries again at once.
    let again: Asked | undefined;
    other.onFailed = () => {
      again = pools.ask("/again");
    };
    pools.clock.advance(1_200);
    assert.equal(other.failure?.kind, "link_down");
    await until("another connection", () => origin.sockets.length === 2);
    origin.sockets[1]!.write(
      Buffer.concat([Speech.settings(), new Speech().answer(1, "200", true)]),
    );
    await until("it is answered", () => again?.ended === true);
    assert.equal(pools.counters.closed.link, 1);
  });
});

describe("pings of a link", () => {
  let origin: HeldOrigin;
  let pools: TestPools;

  beforeEach(async () => {
    origin = await HeldOrigin.start();
    pools = new TestPools(origin.port, undefined, { http2: true });
  });

  afterEach(() => {
    pools.stop();
    origin.stop();
  });

  /** Pings that connection `i` was sent. */
  const pings = (i: number): Buffer[] =>
    heard(origin, i)
      .filter(({ type, flags }) => type === FrameType.PING && flags === 0)
      .map(({ payload }) => payload);
  const acknowledge = async (i: number, which: number): Promise<void> => {
    await until(`ping ${which} on connection ${i}`, () => pings(i).length > which);
    origin.sockets[i]!.write(frame(FrameType.PING, 1, 0, pings(i)[which]!));
  };
  const ping = (): Promise<number | undefined> =>
    new Promise((resolve) => {
      pools.upstreams.ping(pools.endpoint, resolve);
    });

  it("open a connection where there is none, and fail where there can be none", async () => {
    const asked = ping();
    await until("a connection", () => origin.sockets.length === 1);
    origin.sockets[0]!.write(Speech.settings());
    await acknowledge(0, 0);
    assert.equal(await asked, 0);
    origin.stop();
    pools.upstreams.sever(pools.endpoint);
    assert.equal(await ping(), undefined);
  });

  it("find out the one connection that is dead while the others are well", async () => {
    const asked: Asked[] = [];
    for (let i = 0; i < 17; i++) asked.push(pools.ask(`/${i}`));
    // The last one found a connection with 16, and made a second.
    asked.push(pools.ask("/second"));
    await until("a second connection", () => origin.sockets.length === 2);
    for (const socket of origin.sockets) socket.write(Speech.settings());
    const rounds = 5;
    for (let round = 0; round < rounds; round++) {
      const answered = ping();
      await acknowledge(0, round);
      assert.equal(await answered, 0);
      await until("a ping on the other", () => pings(1).length === 1);
    }
    await until("the second is gone", () => pools.count[0] === 1);
    const failed = asked.filter(({ failure }) => failure?.kind === "link_down");
    assert.ok(failed.length > 0 && failed.length < asked.length, String(failed.length));
    assert.equal(asked.filter(({ failure }) => failure !== undefined).length, failed.length);
  });
});

describe("an endpoint that allows no streams at present", () => {
  it("is not asked for ever more connections, and is asked once it allows some", async () => {
    const origin = await HeldOrigin.start();
    const pools = new TestPools(origin.port, { max: 8 }, { http2: true });
    try {
      const first = pools.ask("/first");
      await until("a connection", () => origin.sockets.length === 1);
      const refused = frame(FrameType.RST_STREAM, 0, 1, word(ErrorCode.REFUSED_STREAM));
      origin.sockets[0]!.write(
        Buffer.concat([Speech.settings([Setting.MAX_CONCURRENT_STREAMS, 0]), refused]),
      );
      await until("it is refused", () => first.failure !== undefined);
      const asked = Array.from({ length: 5 }, (_, i) => pools.ask(`/${i}`));
      const check = pools.ask("/check", {}, true);
      await until("the check fails", () => check.failure !== undefined);
      assert.equal(check.failure!.kind, "refused_stream");
      assert.deepEqual(pools.count, [1, 1, 5]);
      origin.sockets[0]!.write(Speech.settings([Setting.MAX_CONCURRENT_STREAMS, 100]));
      await until("nobody waits", () => pools.count[2] === 0);
      assert.equal(origin.sockets.length, 1);
      assert.ok(asked.every(({ failure }) => failure === undefined));
    } finally {
      pools.stop();
      origin.stop();
    }
  });
});
