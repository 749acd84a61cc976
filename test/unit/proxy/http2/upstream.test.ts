import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ErrorCode, FrameType, PREFACE } from "#proxy/http2/frames.ts";
import { endTurn } from "#proxy/socket/work.ts";
import { ClientEnd, data } from "#test/kit/http2_ends.ts";
import { frame, type HeardFrame, takeFrames, word } from "#test/kit/http2_raw.ts";

const reset = (id: number, code: number): Buffer => frame(FrameType.RST_STREAM, 0, id, word(code));

describe("answers over HTTP/2", () => {
  it("wait whole for a slow reader", () => {
    const end = new ClientEnd();
    end.takes = false;
    const stream = end.begin();
    end.say(end.speech.answer(1, "200", false), data(1, "one,"), data(1, "two", true));
    assert.deepEqual(end.events, ["answer 200", "one,"]);
    assert.equal(end.connection.running, 0);
    // That its connection ends does not touch it.
    end.socket.sayEnd();
    stream.resume();
    assert.deepEqual(end.events, ["answer 200", "one,", "two"]);
    end.takes = true;
    stream.resume();
    assert.deepEqual(end.events, ["answer 200", "one,", "two", "end"]);
  });

  it("count although their connection ends in the middle of the request", () => {
    const end = new ClientEnd();
    end.takes = false;
    const stream = end.begin({ method: "POST", body: 100_000 });
    end.say(end.speech.answer(1, "413", false), data(1, "too "), data(1, "large", true));
    end.socket.sayEnd();
    end.takes = true;
    stream.resume();
    assert.deepEqual(end.events, ["answer 413", "too ", "large", "end"]);
  });

  it("are the same wherever they are cut, though all is read into the same memory", () => {
    const { speech } = new ClientEnd();
    const said = Buffer.concat([
      speech.answer(1, "103", false, [["link", "a"]]),
      speech.answer(1, "200", false, [["x-long", "y".repeat(40)]]),
      data(1, "one"),
      frame(FrameType.PING, 0, 0, Buffer.from("12345678")),
      frame(FrameType.HEADERS, 0x5, 1, speech.block([["x-last", "z"]])),
    ]);
    for (let at = 1; at < said.length; at++) {
      const end = new ClientEnd();
      end.begin();
      end.say(said.subarray(0, at));
      // Another connection reads in between.
      new ClientEnd().say(frame(FrameType.PING, 0, 0, Buffer.alloc(8, 0xff)));
      end.say(said.subarray(at));
      const { events } = end;
      const text = [...events.slice(0, 2), events.slice(2, -1).join(""), events.at(-1)];
      assert.deepEqual(text, ["interim 103", "answer 200", "one", "end"], `at ${at}`);
    }
  });

  it("count although their endpoint wants no more of the request", () => {
    const end = new ClientEnd();
    end.takes = false;
    const stream = end.begin({ method: "POST", body: 100_000 });
    assert.equal(stream.sendBody(Buffer.alloc(80_000)), false);
    end.say(end.speech.answer(1, "413", false), data(1, "too "), data(1, "large", true));
    end.say(reset(1, ErrorCode.NO_ERROR));
    assert.equal(stream.sendBody(Buffer.alloc(20_000)), true);
    stream.sendEnd(undefined);
    end.takes = true;
    stream.resume();
    assert.deepEqual(end.events, ["answer 413", "too ", "drain", "large", "end"]);
    assert.equal(end.connection.running, 0);
  });

  it("that are cut are failures, at once", () => {
    const end = new ClientEnd();
    end.takes = false;
    end.begin();
    end.say(end.speech.answer(1, "200", false), data(1, "one"), data(1, "two"));
    end.say(reset(1, ErrorCode.INTERNAL_ERROR));
    assert.deepEqual(end.events, ["answer 200", "one", "failure answer_truncated"]);
    assert.equal(end.connection.running, 0);
  });
});

describe("an endpoint that answers before it has read the request", () => {
  it("may say so as often as it likes: it does what HTTP/2 asks for", () => {
    const end = new ClientEnd();
    for (let i = 0; i < 3_000; i++) {
      const id = 2 * i + 1;
      end.begin({ method: "POST", body: 100_000 });
      end.say(end.speech.answer(id, "429", true), reset(id, ErrorCode.NO_ERROR));
    }
    assert.equal(end.connection.over, false);
    assert.equal(end.events.filter((event) => event === "end").length, 3_000);
  });

  it("is a flood if it resets for ever what nobody has had a use of", () => {
    const end = new ClientEnd();
    end.begin();
    for (let i = 0; i < 3_000; i++) end.say(reset(1, ErrorCode.NO_ERROR));
    assert.equal(end.connection.over, true);
  });
});

describe("a ping of a connection", () => {
  const ack = (): Buffer => frame(FrameType.PING, 1, 0, Buffer.from("alive?  "));

  it("tells the round trip, without what opening took", () => {
    const end = new ClientEnd();
    const heard: unknown[] = [];
    end.connection.ping((rttMs) => heard.push(rttMs));
    end.clock.advance(40);
    end.say(frame(FrameType.PING, 1, 0, Buffer.from("espalier")));
    assert.deepEqual(heard, [], "that was another one");
    end.say(ack());
    end.say(ack());
    assert.deepEqual(heard, [40]);
  });

  it("is not sent again before it is answered, and counts as silence meanwhile", () => {
    const end = new ClientEnd();
    const heard: unknown[] = [];
    for (let i = 0; i < 3; i++) end.connection.ping((rttMs) => heard.push(rttMs));
    assert.deepEqual(heard, [undefined, undefined]);
    assert.equal(end.connection.silentPings, 2);
    end.say(ack());
    assert.equal(end.connection.silentPings, 0);
    assert.equal(heard.length, 3);
  });

  it("has no answer once the connection is over", () => {
    const end = new ClientEnd();
    const heard: unknown[] = [];
    end.connection.ping((rttMs) => heard.push(rttMs));
    end.socket.sayEnd();
    assert.deepEqual(heard, [undefined]);
  });
});

describe("a connection that says nothing", () => {
  const ack = (): Buffer => frame(FrameType.PING, 1, 0, Buffer.from("alive?  "));
  /** Pings that were sent by now. */
  const pings = (end: ClientEnd): number => {
    endTurn();
    return end.socket.written.split("alive?  ").length - 1;
  };

  it("is given up when a request was in vain, and a ping too: the others fail", () => {
    const end = new ClientEnd();
    end.begin();
    const stream = end.begin();
    end.clock.advance(5_000);
    assert.equal(pings(end), 0);
    stream.cancel();
    assert.equal(pings(end), 1);
    end.clock.advance(900);
    assert.deepEqual(end.events, []);
    assert.equal(end.connection.room > 0, true);
    end.clock.advance(300);
    assert.deepEqual(end.events, ["failure link_down"]);
    assert.deepEqual([end.connection.over, end.connection.room], [true, 0]);
  });

  it("is given up although it never said a word", () => {
    const end = new ClientEnd(false);
    end.begin().cancel();
    end.clock.advance(1_200);
    assert.equal(end.connection.over, true);
  });

  for (const [what, said] of [
    ["the answer to the ping", (): Buffer => ack()],
    ["a ping of its own", (): Buffer => frame(FrameType.PING, 0, 0, Buffer.alloc(8))],
    [
      "the beginning of a frame",
      (): Buffer => frame(FrameType.PING, 0, 0, Buffer.alloc(8)).subarray(0, 1),
    ],
  ] as const) {
    it(`is kept for ${what}`, () => {
      const end = new ClientEnd();
      end.begin();
      end.begin().cancel();
      end.clock.advance(900);
      end.say(said());
      end.clock.advance(5_000);
      assert.deepEqual([end.events, end.connection.over], [[], false]);
    });
  }

  it("is not in doubt if anything has come since the request began, or the request is whole", () => {
    const end = new ClientEnd();
    const first = end.begin();
    end.say(frame(FrameType.PING, 0, 0, Buffer.alloc(8)));
    first.cancel();
    const second = end.begin();
    end.say(end.speech.answer(3, "200", false));
    second.cancel();
    const third = end.begin();
    end.say(end.speech.answer(5, "200", true));
    third.cancel();
    end.clock.advance(5_000);
    assert.deepEqual([pings(end), end.connection.over], [0, false]);
  });

  it("is asked once, however many requests are cancelled meanwhile", () => {
    const end = new ClientEnd();
    for (let i = 0; i < 50; i++) end.begin().cancel();
    end.clock.advance(500);
    for (let i = 0; i < 50; i++) end.begin().cancel();
    assert.equal(pings(end), 1);
    // Nor is another asked before that one is answered.
    end.say(frame(FrameType.PING, 0, 0, Buffer.alloc(8)));
    for (let i = 0; i < 50; i++) end.begin().cancel();
    assert.equal(pings(end), 1);
    end.clock.advance(1_200);
    assert.equal(end.connection.over, true);
  });

  it("is asked no more than a server of gRPC bears, until it answers a request or minutes later", () => {
    const end = new ClientEnd();
    // It is not idle meanwhile.
    end.begin();
    const doubt = (): number => {
      end.begin().cancel();
      const sent = pings(end);
      end.say(ack());
      return sent;
    };
    assert.deepEqual([1, 2, 3, 4, 5].map(doubt), [1, 2, 3, 3, 3]);
    end.clock.advance(5 * 60_000 - 1);
    assert.equal(doubt(), 3);
    end.clock.advance(60_000);
    assert.equal(doubt(), 4);
    assert.equal(doubt(), 4);
    end.say(end.speech.answer(1, "200", true));
    assert.equal(doubt(), 5);
  });

  it("tells the pings of its link the right round trip", () => {
    const end = new ClientEnd();
    end.begin().cancel();
    end.clock.advance(100);
    const heard: unknown[] = [];
    end.connection.ping((rttMs) => heard.push(rttMs));
    end.clock.advance(20);
    end.say(ack());
    assert.deepEqual([heard, pings(end)], [[120], 1]);
  });

  it("is asked while the request that was in vain still runs", () => {
    const end = new ClientEnd();
    end.begin().cancel();
    endTurn();
    const types: HeardFrame[] = [];
    takeFrames(Buffer.from(end.socket.written.slice(PREFACE.length), "latin1"), types);
    const last = types.slice(-2).map(({ type }) => type);
    assert.deepEqual(last, [FrameType.PING, FrameType.RST_STREAM]);
  });
});

describe("a connection over HTTP/2", () => {
  for (const [code, heard, failure] of [
    ["ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED", false, "tls_failed"],
    ["ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE", false, "tls_failed"],
    ["ERR_SSL_TLSV1_ALERT_ACCESS_DENIED", false, "tls_failed"],
    ["ERR_SSL_TLSV1_ALERT_CERTIFICATE_EXPIRED", true, "closed_early"],
    ["ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR", false, "closed_early"],
    ["ECONNRESET", false, "closed_early"],
  ] as const) {
    it(`fails with ${failure} by ${code} ${heard ? "after" : "before"} the server has spoken`, () => {
      const end = new ClientEnd(heard);
      end.begin({ method: "POST", body: 3 });
      end.socket.emit("error", Object.assign(new Error("x"), { code }));
      assert.deepEqual(end.events, [`failure ${failure}`]);
    });
  }
});
