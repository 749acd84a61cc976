import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ErrorCode, FrameType, PREFACE, Setting, uint32 } from "#proxy/http2/frames.ts";
import {
  type Asked,
  data,
  headOf,
  ok,
  readAll,
  ServerEnd,
  Speech,
  turn,
} from "#test/kit/http2_ends.ts";
import { frame, word } from "#test/kit/http2_raw.ts";

const { RST_STREAM, WINDOW_UPDATE, PING, HEADERS, CONTINUATION, PRIORITY, DATA } = FrameType;
const ACK = 1;

/** Answers with what came, once it is here. */
function echo(asked: Asked): void {
  readAll(asked, () => {
    asked.exchange.answer(ok());
    if (asked.body !== "") asked.exchange.answerBody(Buffer.from(asked.body, "latin1"));
    asked.exchange.answerEnd(asked.trailers === undefined ? undefined : [...asked.trailers]);
  });
}

function opened(settings: readonly number[] = [], onAsked?: (asked: Asked) => void): ServerEnd {
  const end = new ServerEnd({}, onAsked);
  end.say(Speech.hello(settings));
  return end;
}

const padded = (id: number, content: string, padding: number): Buffer =>
  frame(
    DATA,
    0x8,
    id,
    Buffer.concat([Buffer.from([padding]), Buffer.from(content), Buffer.alloc(padding)]),
  );

describe("what an HTTP/2 client says, cut anywhere", () => {
  const speech = new Speech();
  // In the order in which they are said, or the tables of both sides differ.
  const first = speech.ask(1, [["cookie", "a"]]);
  const split = speech.block([...headOf("POST"), ["te", "trailers"], ["x-long", "y".repeat(50)]]);
  const said = Buffer.concat([
    Speech.hello([Setting.INITIAL_WINDOW_SIZE, 100_000, Setting.HEADER_TABLE_SIZE, 256]),
    first,
    frame(HEADERS, 0, 3, split.subarray(0, 10)),
    frame(CONTINUATION, 0, 3, split.subarray(10, 11)),
    frame(CONTINUATION, 0x4, 3, split.subarray(11)),
    data(3, "hello "),
    frame(PING, 0, 0, Buffer.from("12345678")),
    padded(3, "world", 7),
    speech.ask(5, [["content-length", "4"]], "POST"),
    frame(PRIORITY, 0, 5, Buffer.from([0, 0, 0, 3, 1])),
    frame(0x77, 0xff, 5, Buffer.from("unknown")),
    data(5, "four", true),
    frame(HEADERS, 0x5, 3, speech.block([["x-last", "z"]])),
    speech.ask(7, [], "POST"),
    frame(WINDOW_UPDATE, 0, 0, word(5_000)),
    frame(RST_STREAM, 0, 7, word(ErrorCode.CANCEL)),
    speech.ask(9, [["X-Bad", "a"]]),
    Speech.settings([Setting.INITIAL_WINDOW_SIZE, 1]),
    speech.ask(11, [["content-length", "2"]], "POST"),
    data(11, "ab", true),
    frame(WINDOW_UPDATE, 0, 11, word(5)),
  ]);

  function conversation(pieces: readonly Buffer[]): unknown {
    const end = new ServerEnd({}, echo);
    for (const piece of pieces) end.socket.say(piece);
    const asked = end.asked.map(({ exchange, body, gone, trailers }) => {
      return { head: exchange.head, body, gone, trailers };
    });
    const bodies = [1, 3, 5, 7, 9, 11].map((id) => end.bodyOf(id));
    const heads = end.heard.filter(({ type }) => type !== DATA);
    return {
      asked,
      bodies,
      resets: end.refused,
      heads: heads.map((one) => ({ ...one, flags: 0 })),
    };
  }

  const whole = conversation([said]);

  it("means what it says", () => {
    const { asked, bodies } = whole as { asked: Asked[]; bodies: string[] };
    assert.deepEqual(
      asked.map(({ body, gone }) => body + gone),
      ["", "hello world", "four", "client_closed", "ab"],
    );
    assert.deepEqual(bodies, ["", "hello world", "four", "", "", "ab"]);
    assert.deepEqual(asked[1]!.trailers, ["x-last", "z"]);
  });

  it("is the same in two pieces", () => {
    for (let at = 1; at < said.length; at++) {
      assert.deepEqual(conversation([said.subarray(0, at), said.subarray(at)]), whole, `at ${at}`);
    }
  });

  it("is the same byte by byte", () => {
    assert.deepEqual(conversation(Array.from(said, (_, i) => said.subarray(i, i + 1))), whole);
  });
});

describe("streams of an HTTP/2 client", () => {
  it("are answered early, and the rest of the request is not wanted", async () => {
    const end = opened([], ({ exchange }) => {
      exchange.answer(ok({ status: 403, body: 2 }));
      exchange.answerBody(Buffer.from("no"));
      exchange.answerEnd(undefined);
    });
    end.say(end.speech.ask(1, [], "POST"));
    await turn();
    assert.equal(end.bodyOf(1), "no");
    const kinds = end.heard.filter(({ stream }) => stream === 1);
    // The answer's end first.
    assert.equal(kinds.at(-2)!.flags & 1, 1);
    assert.equal(end.resetOf(1), ErrorCode.NO_ERROR);
    // What is on its way is no fault, nor is it kept.
    end.say(data(1, "x".repeat(16_000)), frame(HEADERS, 0x5, 1, end.speech.block([["a", "b"]])));
    end.say(end.speech.ask(3));
    assert.equal(end.asked.length, 2);
    assert.equal(end.goaway, undefined);
  });

  it("hear nothing of a body where there is none", async () => {
    for (const [method, status] of [
      ["HEAD", 200],
      ["GET", 204],
      ["GET", 304],
    ] as const) {
      const end = opened([], ({ exchange }) => {
        exchange.answer(ok({ status, body: method === "HEAD" ? 5 : 0 }));
        exchange.answerBody(Buffer.from("never"));
        exchange.answerEnd(undefined);
      });
      end.say(end.speech.ask(1, [], method, true));
      await turn();
      assert.equal(end.of(DATA, 1).length, 0);
      assert.equal(end.of(HEADERS, 1)[0]!.flags & 1, 1);
    }
  });

  it("get interim answers before the last one", async () => {
    const end = opened();
    end.say(end.speech.ask(1));
    const { exchange } = end.asked[0]!;
    exchange.interim(103, ["link", "a"]);
    exchange.answer(ok());
    exchange.interim(103, ["link", "b"]);
    exchange.answerEnd(undefined);
    await turn();
    assert.equal(end.of(HEADERS, 1).length, 2);
  });

  it("end when their bodies are not as long as they said", () => {
    for (const [content, ends] of [
      ["four", true],
      ["sixsix", false],
    ] as const) {
      const end = opened();
      end.say(end.speech.ask(1, [["content-length", "5"]], "POST"), data(1, content, ends));
      assert.equal(end.resetOf(1), ErrorCode.PROTOCOL_ERROR);
      assert.equal(end.asked[0]!.gone, "bad_request");
      assert.equal(end.asked[0]!.ended, false);
      assert.deepEqual(end.refused, ["bad_request"]);
    }
  });

  it("say no more after their end; those long gone do not end the connection", () => {
    const late = opened();
    late.say(late.speech.ask(1), data(1, "x"));
    assert.equal(late.resetOf(1), ErrorCode.STREAM_CLOSED);
    const skipped = opened([], echo);
    skipped.say(skipped.speech.ask(5), skipped.speech.ask(3));
    assert.equal(skipped.goaway, ErrorCode.PROTOCOL_ERROR);
    const ended = opened([], echo);
    ended.say(ended.speech.ask(1), ended.speech.ask(1));
    assert.equal(ended.goaway, ErrorCode.STREAM_CLOSED);
    const old = opened([], echo);
    for (let id = 1; id < 1_200; id += 2) old.say(old.speech.ask(id));
    old.say(frame(HEADERS, 0x5, 1, old.speech.block([["a", "b"]])), data(3, "late"));
    assert.deepEqual(
      [old.resetOf(1), old.resetOf(3)],
      [ErrorCode.STREAM_CLOSED, ErrorCode.STREAM_CLOSED],
    );
    assert.equal(old.goaway, undefined);
  });

  it("are 256 at a time", () => {
    const end = opened();
    for (let id = 1; id <= 513; id += 2) end.say(end.speech.ask(id));
    assert.equal(end.asked.length, 256);
    assert.equal(end.resetOf(513), ErrorCode.REFUSED_STREAM);
    assert.equal(end.resetOf(511), undefined);
  });

  it("keep what comes early for a tunnel, and its rest when both sides have ended", async () => {
    const end = opened([], () => {});
    const asked = [[":protocol", "echo"]] as const;
    const block = end.speech.block([[":method", "CONNECT"], ...headOf("").slice(1), ...asked]);
    end.say(frame(HEADERS, 0x4, 1, block), data(1, "early,"), data(1, "late", true));
    const [tunnel] = end.asked;
    assert.equal(end.resetOf(1), undefined);
    tunnel!.exchange.answer(ok({ status: 101, upgrade: "echo" }));
    tunnel!.exchange.answerEnd(undefined);
    await turn();
    readAll(tunnel!);
    assert.equal(tunnel!.body, "early,late");
    assert.ok(tunnel!.ended);
  });

  it("do not take an answer for a tunnel", async () => {
    const status = async (answered: number): Promise<string> => {
      const end = opened([], ({ exchange }) => {
        exchange.answer(ok({ status: answered, body: 0 }));
        exchange.answerEnd(undefined);
      });
      const asked = [[":protocol", "echo"]] as const;
      const block = end.speech.block([[":method", "CONNECT"], ...headOf("").slice(1), ...asked]);
      end.say(frame(HEADERS, 0x4, 1, block));
      await turn();
      return end.of(HEADERS, 1)[0]!.payload.latin1Slice();
    };
    // An indexed 200 is 0x88.
    assert.doesNotMatch(await status(200), /\x88/);
    assert.match(await status(101), /\x88/);
  });

  it("are answered 431 when their heads are a little too large, wherever they are cut", async () => {
    const end = opened();
    const block = end.speech.block([...headOf("GET"), ["x", "\xff".repeat(70_000)]]);
    const pieces = [frame(HEADERS, 0x1, 1, block.subarray(0, 16_384))];
    for (let at = 16_384; at < block.length; at += 16_384) {
      const isLast = at + 16_384 >= block.length;
      pieces.push(frame(CONTINUATION, isLast ? 4 : 0, 1, block.subarray(at, at + 16_384)));
    }
    end.say(...pieces, end.speech.ask(3));
    await turn();
    assert.equal(end.bodyOf(1), "431 head_too_large\n");
    assert.equal(end.asked.length, 1);
  });

  it("end with their connection when a header block does not end", () => {
    const end = opened();
    end.say(frame(HEADERS, 0x1, 1, Buffer.alloc(16_384)));
    for (let i = 0; i < 9; i++) end.say(frame(CONTINUATION, 0, 1, Buffer.alloc(16_384)));
    assert.equal(end.goaway, ErrorCode.ENHANCE_YOUR_CALM);
    assert.equal(end.counters.calmed, 1);
  });
});

describe("windows of an HTTP/2 client", () => {
  const large = (asked: Asked): void => {
    asked.exchange.answer(ok());
    asked.exchange.answerBody(Buffer.alloc(200_000));
  };

  it("are kept on both levels", async () => {
    const end = opened([Setting.INITIAL_WINDOW_SIZE, 10_000], large);
    end.say(end.speech.ask(1), end.speech.ask(3));
    await turn();
    assert.deepEqual([end.bodyOf(1).length, end.bodyOf(3).length], [10_000, 10_000]);
    end.say(frame(WINDOW_UPDATE, 0, 1, word(100_000)));
    // 65,535 of the connection, 20,000 of them gone.
    assert.equal(end.bodyOf(1).length, 55_535);
    end.say(frame(WINDOW_UPDATE, 0, 3, word(2_000)), frame(WINDOW_UPDATE, 0, 0, word(3_000)));
    assert.equal(end.bodyOf(1).length + end.bodyOf(3).length, 68_535);
    // A frame each: the next is the other's.
    end.say(frame(WINDOW_UPDATE, 0, 0, word(3_000)));
    assert.equal(end.bodyOf(3).length, 12_000);
  });

  it("of all streams together hold one up, and let it go on", async () => {
    const end = opened([Setting.INITIAL_WINDOW_SIZE, 1_000_000], large);
    end.say(end.speech.ask(1));
    await turn();
    assert.equal(end.bodyOf(1).length, 65_535);
    end.say(frame(WINDOW_UPDATE, 0, 0, word(1_000_000)));
    assert.equal(end.bodyOf(1).length, 200_000);
    assert.equal(end.asked[0]!.drains, 1);
  });

  it("follow the settings below zero, and back", async () => {
    const end = opened([Setting.INITIAL_WINDOW_SIZE, 10_000], large);
    end.say(end.speech.ask(1));
    await turn();
    end.say(Speech.settings([Setting.INITIAL_WINDOW_SIZE, 4_000]));
    end.say(frame(WINDOW_UPDATE, 0, 1, word(6_000)));
    assert.equal(end.bodyOf(1).length, 10_000);
    end.say(frame(WINDOW_UPDATE, 0, 1, word(1)));
    assert.equal(end.bodyOf(1).length, 10_001);
    end.say(Speech.settings([Setting.INITIAL_WINDOW_SIZE, 4_100]));
    assert.equal(end.bodyOf(1).length, 10_101);
  });

  it("never pass 2^31 - 1", () => {
    const settings = opened();
    settings.say(settings.speech.ask(1), frame(WINDOW_UPDATE, 0, 1, word(0x7fff_0000)));
    settings.say(Speech.settings([Setting.INITIAL_WINDOW_SIZE, 0x7fff_ffff]));
    assert.equal(settings.goaway, ErrorCode.FLOW_CONTROL_ERROR);
  });

  it("may be given back in small pieces, with a ping each, for as long as a body flows", async () => {
    const end = opened([], ({ exchange }) => exchange.answer(ok()));
    end.say(end.speech.ask(1));
    for (let i = 0; i < 3_000; i++) {
      end.asked[0]!.exchange.answerBody(Buffer.alloc(100));
      const given = [1, 0].map((id) => frame(WINDOW_UPDATE, 0, id, word(100)));
      end.say(...given, frame(PING, 0, 0, Buffer.alloc(8)));
    }
    assert.equal(end.goaway, undefined);
    for (let i = 0; i < 14_000; i++) end.say(frame(WINDOW_UPDATE, 0, 1, word(1)));
    assert.equal(end.goaway, ErrorCode.ENHANCE_YOUR_CALM);
  });

  it("hold nothing of a stream that was reset", async () => {
    const end = opened([Setting.INITIAL_WINDOW_SIZE, 0], large);
    for (let id = 1; id < 1_200; id += 2) {
      end.say(end.speech.ask(id), frame(RST_STREAM, 0, id, word(ErrorCode.CANCEL)));
      const { exchange, gone } = end.asked.at(-1)!;
      assert.equal(gone, "client_closed");
      assert.equal((exchange as unknown as { isSending: boolean }).isSending, false);
    }
  });

  it("of ours are given back as bodies are taken, padding among it", () => {
    const end = opened();
    const given = (id: number): number =>
      end.of(WINDOW_UPDATE, id).reduce((sum, { payload }) => sum + uint32(payload, 0), 0);
    const first = given(0);
    end.say(end.speech.ask(1, [], "POST"));
    for (let i = 0; i < 200; i++) end.say(padded(1, "x".repeat(1_000), 200));
    // Never more than half of a window is kept back.
    assert.ok(given(1) > 200 * 1_201 - 32_768 && given(1) <= 200 * 1_201, `${given(1)}`);
    assert.ok(given(0) - first > 200 * 1_201 - 131_070, `${given(0)}`);
    end.say(end.speech.ask(3, [], "POST"));
    for (let i = 0; i < 500; i++) end.say(padded(3, "", 255));
    assert.ok(given(3) > 500 * 256 - 32_768);
    assert.equal(end.resetOf(3), undefined);
  });

  it("of ours are not given back to a stream by its last frame", () => {
    const end = opened();
    end.say(end.speech.ask(1, [], "POST"), data(1, "x".repeat(16_384), true));
    end.say(end.speech.ask(3, [], "POST"), data(3, "x".repeat(16_384)));
    assert.equal(end.asked[0]!.ended, true);
    assert.equal(end.of(WINDOW_UPDATE, 1).length, 0);
    assert.equal(end.of(WINDOW_UPDATE, 3).length, 1);
  });

  it("of ours come back from bodies that nobody reads to their end", () => {
    const end = opened([], ({ exchange }) => {
      // Takes one piece, and is answered when the rest is here.
      exchange.readBody({ onBody: () => false, onBodyEnd: () => assert.fail("it was cut") });
    });
    for (let id = 1; id < 200; id += 2) {
      end.say(end.speech.ask(id, [], "POST"));
      for (let i = 0; i < 4; i++) end.say(data(id, "x".repeat(16_000), i === 3));
      const { exchange } = end.asked.at(-1)!;
      exchange.answer(ok({ status: 413, body: 0 }));
      exchange.answerEnd(undefined);
      exchange.resumeBody();
    }
    assert.equal(end.goaway, undefined);
    assert.equal(end.asked.length, 100);
  });

  it("of ours may not be passed, and are not given back to who is not read", () => {
    const end = opened([], () => {});
    end.say(end.speech.ask(1, [], "POST"));
    for (let i = 0; i < 4; i++) end.say(data(1, "x".repeat(16_000)));
    assert.equal(end.of(WINDOW_UPDATE, 1).length, 0);
    end.say(data(1, "x".repeat(1_535)));
    assert.equal(end.resetOf(1), undefined);
    end.say(data(1, "x"));
    assert.equal(end.resetOf(1), ErrorCode.FLOW_CONTROL_ERROR);
  });
});

describe("the end of an HTTP/2 client's connection", () => {
  it("is told twice, and what comes after the second is read past", async () => {
    const end = opened();
    end.say(end.speech.ask(1));
    end.connection.drain();
    end.say(end.speech.ask(3));
    const [ping] = end.of(PING, 0);
    end.say(frame(PING, ACK, 0, ping!.payload));
    end.say(end.speech.ask(5, [], "POST"), data(5, "x"), frame(WINDOW_UPDATE, 0, 5, word(1)));
    end.say(
      frame(HEADERS, 0x5, 5, end.speech.block([["a", "b"]])),
      frame(RST_STREAM, 0, 5, word(8)),
    );
    assert.equal(end.asked.length, 2);
    assert.equal(end.resetOf(5), undefined);
    assert.deepEqual(
      end.of(FrameType.GOAWAY, 0).map(({ payload }) => [uint32(payload, 0), uint32(payload, 4)]),
      [
        [0x7fff_ffff, 0],
        [3, 0],
      ],
    );
    for (const { exchange } of end.asked) {
      exchange.answer(ok());
      exchange.answerEnd(undefined);
    }
    await turn();
    assert.equal(end.socket.ending, "end");
    assert.deepEqual(
      end.asked.map(({ gone }) => gone),
      ["", ""],
    );
  });

  it("says nothing after its last word", async () => {
    const end = opened();
    end.say(end.speech.ask(1), frame(PING, 0, 0, Buffer.alloc(8)), frame(DATA, 0, 0));
    assert.equal(end.goaway, ErrorCode.PROTOCOL_ERROR);
    assert.equal(end.asked[0]!.gone, "client_closed");
    end.asked[0]!.exchange.abort({ kind: "deadline", detail: "" });
    end.say(frame(PING, 0, 0, Buffer.alloc(8)));
    end.connection.drain();
    await turn();
    assert.equal(end.socket.late, 0);
  });

  it("comes once, and leaves no timer", async () => {
    const end = opened();
    end.say(end.speech.ask(1));
    end.socket.sayEnd();
    assert.equal(end.asked[0]!.gone, "client_closed");
    end.clock.advance(2_100);
    await turn();
    assert.ok(end.socket.destroyed);
    end.connection.destroy();
    assert.deepEqual([end.closed, end.wheel.size], [1, 0]);
    const killed = opened();
    killed.connection.destroy();
    await turn();
    assert.deepEqual([killed.closed, killed.wheel.size], [1, 0]);
  });

  it("waits for who takes what is left, not for who does not", () => {
    for (const takes of [true, false]) {
      const end = opened();
      end.socket.writableLength = 1_000_000;
      end.connection.drain();
      end.clock.advance(1_100);
      assert.equal(end.socket.ending, "end");
      for (let s = 0; s < 100 && !end.socket.destroyed; s += 2) {
        if (takes) end.socket.writableLength -= 1_000;
        end.clock.advance(2_000);
      }
      assert.equal(end.socket.destroyed, !takes);
    }
  });
});

describe("an HTTP/2 client and time", () => {
  const LIMITS = { headTimeoutMs: 10_000, bodyTimeoutMs: 30_000, idleTimeoutMs: 60_000 };
  const begun = (...said: readonly Buffer[]): ServerEnd => {
    const end = new ServerEnd(LIMITS);
    end.say(...said);
    return end;
  };
  /** When it ended, in seconds. */
  const endedAt = (end: ServerEnd, each: (second: number) => void = () => {}): number => {
    for (let second = 0; second < 200; second++) {
      if (end.socket.ending !== "") return second;
      each(second);
      end.clock.advance(1_000);
    }
    return -1;
  };
  const between = (at: number, from: number, to: number): void =>
    assert.ok(at >= from && at <= to, `at ${at}`);

  it("has to begin", () => {
    for (const said of [[], [PREFACE.subarray(0, 10)], [PREFACE], [PREFACE, Buffer.from([0, 0])]]) {
      const end = begun(...said);
      between(endedAt(end), 10, 11);
      assert.deepEqual(end.refused, ["head_timeout"]);
    }
  });

  it("has to end a frame and a header block, whatever else it does", () => {
    const speech = new Speech();
    const block = speech.block(headOf("GET"));
    const partial = frame(HEADERS, 0x5, 1, block).subarray(0, 12);
    between(endedAt(begun(Speech.hello(), partial)), 10, 15);
    const open = begun(Speech.hello(), frame(HEADERS, 1, 1, block));
    const more = (): void => open.say(frame(CONTINUATION, 0, 1, Buffer.from([0x40 | 0x3f])));
    between(endedAt(open, more), 10, 15);
    // Another begins before each look: none of them is late.
    const busy = new ServerEnd(LIMITS, echo);
    busy.say(Speech.hello());
    let id = 1;
    const at = endedAt(busy, () => {
      if (id > 1) busy.say(frame(CONTINUATION, 4, id - 2));
      busy.say(frame(HEADERS, 1, id, busy.speech.block(headOf("GET"))));
      id += 2;
    });
    assert.equal(at, -1);
  });

  it("has to go on with a body, even if it sends blocks in pieces beside it", async () => {
    const end = begun(Speech.hello());
    end.say(end.speech.ask(1, [], "POST"), data(1, "x"));
    let id = 3;
    for (let second = 0; second < 45; second++) {
      end.say(frame(HEADERS, 1, id, end.speech.block(headOf("GET"))), frame(CONTINUATION, 4, id));
      id += 2;
      end.clock.advance(1_000);
      if (second === 28) assert.equal(end.asked[0]!.gone, "");
    }
    await turn();
    assert.equal(end.asked[0]!.gone, "body_timeout");
    assert.equal(end.bodyOf(1), "408 body_timeout\n");
    assert.equal(end.resetOf(1), ErrorCode.NO_ERROR);
    assert.equal(end.socket.ending, "");
  });

  it("has to take an answer", async () => {
    const end = begun(Speech.hello([Setting.INITIAL_WINDOW_SIZE, 10]));
    end.say(end.speech.ask(1));
    const { exchange } = end.asked[0]!;
    exchange.answer(ok());
    exchange.answerBody(Buffer.alloc(1_000));
    end.clock.advance(50_000);
    end.say(frame(WINDOW_UPDATE, 0, 1, word(1)));
    end.clock.advance(55_000);
    assert.equal(end.asked[0]!.gone, "");
    end.clock.advance(15_000);
    await turn();
    assert.equal(end.asked[0]!.gone, "client_closed");
    assert.equal(end.resetOf(1), ErrorCode.CANCEL);
  });

  it("may be idle for a while, since its last stream", () => {
    const end = begun(Speech.hello());
    end.clock.advance(50_000);
    end.say(end.speech.ask(1));
    end.asked[0]!.exchange.answer(ok());
    end.asked[0]!.exchange.answerEnd(undefined);
    between(endedAt(end), 59, 62);
    assert.equal(end.goaway, ErrorCode.NO_ERROR);
  });

  it("is read no further while it takes nothing, and calmed in the end", () => {
    const end = begun(Speech.hello());
    end.socket.writableLength = 300_000;
    end.say(frame(PING, 0, 0, Buffer.alloc(8)));
    assert.ok(end.socket.paused);
    end.socket.writableLength = 0;
    end.socket.emit("drain");
    assert.ok(!end.socket.paused);
    end.socket.writableLength = 300_000;
    end.say(end.speech.ask(1));
    end.clock.advance(55_000);
    assert.equal(end.socket.ending, "");
    end.clock.advance(10_000);
    assert.equal(end.goaway, ErrorCode.ENHANCE_YOUR_CALM);
    assert.equal(end.counters.calmed, 1);
    assert.equal(end.asked[0]!.gone, "client_closed");
  });
});
