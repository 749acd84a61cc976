import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ErrorCode, FrameType, PREFACE, Setting, uint32 } from "#proxy/http2/frames.ts";
import { ClientEnd, data, Speech } from "#test/kit/http2_ends.ts";
import { frame, type HeardFrame, takeFrames, word } from "#test/kit/http2_raw.ts";

const { PROTOCOL_ERROR, STREAM_CLOSED, FLOW_CONTROL_ERROR } = ErrorCode;
type Said = (speech: Speech) => readonly Buffer[];

const more =
  (...fields: ReadonlyArray<readonly [string, string]>): Said =>
  (speech) => [speech.answer(1, "200", false, fields)];
const head = (speech: Speech, ...fields: ReadonlyArray<readonly [string, string]>): Buffer =>
  frame(FrameType.HEADERS, 0x4, 1, speech.block(fields));
const last = (speech: Speech, ...fields: ReadonlyArray<readonly [string, string]>): Buffer =>
  frame(FrameType.HEADERS, 0x5, 1, speech.block(fields));

/** What an endpoint may not answer, besides what h2specd (`test/outside/`) tries: each ends its stream. */
const OF_STREAM: ReadonlyArray<readonly [string, Said, number?]> = [
  ["a name with capitals", more(["X-A", "a"])],
  ["no :status", (speech) => [head(speech, ["x-a", "a"])]],
  [":status twice", (speech) => [head(speech, [":status", "200"], [":status", "200"])]],
  [":status that is no number", (speech) => [head(speech, [":status", "2x0"])]],
  [":status after a field", (speech) => [head(speech, ["x-a", "a"], [":status", "200"])]],
  ["a pseudo-field of requests", more([":path", "/"])],
  ["101", (speech) => [head(speech, [":status", "101"])]],
  ["connection", more(["connection", "close"])],
  ["transfer-encoding", more(["transfer-encoding", "chunked"])],
  ["a value with a line end", more(["x-a", "a\r\nb: c"])],
  ["two lengths", more(["content-length", "1"], ["content-length", "1"])],
  ["a length that is no number", more(["content-length", "+1"])],
  ["an end after an interim answer", (speech) => [last(speech, [":status", "103"])]],
  [
    "less than its length",
    (s) => [s.answer(1, "200", false, [["content-length", "5"]]), data(1, "four", true)],
  ],
  [
    "more than its length",
    (s) => [s.answer(1, "200", false, [["content-length", "3"]]), data(1, "four")],
  ],
  ["a length and no body", (s) => [s.answer(1, "200", true, [["content-length", "3"]])]],
  ["pseudo-fields in trailers", (s) => [s.answer(1, "200", false), last(s, [":status", "200"])]],
  ["trailers without an end", (s) => [s.answer(1, "200", false), head(s, ["x-a", "a"])]],
  [
    "more than its window",
    (s) => [s.answer(1, "200", false), ...Array(5).fill(data(1, Buffer.alloc(16_384)))],
    FLOW_CONTROL_ERROR,
  ],
];

/** Each of these ends its connection. */
const OF_CONNECTION: ReadonlyArray<readonly [string, Said, number?]> = [
  ["a push", () => [frame(FrameType.PUSH_PROMISE, 0x4, 1, word(2))]],
  ["that pushes are allowed", () => [Speech.settings([Setting.ENABLE_PUSH, 1])]],
  ["an answer on an even stream", (s) => [s.answer(2, "200", true)]],
  ["an answer to a request to come", (s) => [s.answer(3, "200", true)]],
  [
    "HEADERS after the end",
    (s) => [s.answer(1, "200", true), s.answer(1, "200", true)],
    STREAM_CLOSED,
  ],
];

/** All that the endpoint has heard since it was asked. */
function heard(end: ClientEnd): HeardFrame[] {
  const frames: HeardFrame[] = [];
  takeFrames(Buffer.from(end.socket.written, "latin1").subarray(PREFACE.length), frames);
  return frames;
}

describe("an endpoint that breaks a rule of HTTP/2", () => {
  for (const [what, said, code = PROTOCOL_ERROR] of OF_STREAM) {
    it(`loses the stream: ${what}`, async () => {
      const end = new ClientEnd();
      end.takes = false;
      end.begin();
      for (const one of said(end.speech)) end.say(one);
      await new Promise((resolve) => setImmediate(resolve));
      const reset = heard(end).find(({ type }) => type === FrameType.RST_STREAM);
      assert.deepEqual([reset?.stream, reset && uint32(reset.payload, 0)], [1, code]);
      assert.match(end.events.at(-1)!, /^failure (?:bad_answer|answer_truncated|closed_early)$/);
      assert.equal(end.connection.over, false);
    });
  }

  for (const [what, said, code = PROTOCOL_ERROR] of OF_CONNECTION) {
    it(`loses the connection: ${what}`, async () => {
      const end = new ClientEnd();
      end.begin();
      for (const one of said(end.speech)) end.say(one);
      await new Promise((resolve) => setImmediate(resolve));
      const goaway = heard(end).find(({ type }) => type === FrameType.GOAWAY);
      assert.equal(goaway && uint32(goaway.payload, 4), code);
      assert.match(end.events.at(-1)!, /^(?:failure \w+|end)$/);
      assert.equal(end.connection.over, true);
    });
  }
});
