import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Rng, seededRng } from "#kernel/rng.ts";
import {
  ErrorCode,
  Flag,
  FRAME_HEADER_BYTES,
  FrameType,
  frameLength,
  PREFACE,
  Setting,
  uint32,
} from "#proxy/http2/frames.ts";
import { IS_WHOLE, replay, seeds } from "#test/fuzz/budget.ts";
import { NodeFrames } from "#test/fuzz/node_http2.ts";
import { type Asked, headOf, readAll, ServerEnd, Speech, turn } from "#test/kit/http2_ends.ts";
import { frame, word } from "#test/kit/http2_raw.ts";

/** Connections tried by `make test`. */
const CASES = 400;
const FILE = "http2_frames.test.ts";

const oneOf = <T>(rng: Rng, choices: readonly T[]): T => choices[rng.below(choices.length)]!;

const LAST_PING = Buffer.from("the last");

/** Frames of some requests, as a client may say them: among each other, padded, in pieces. */
function validFrames(rng: Rng): Buffer[] {
  const speech = new Speech();
  const lines = Array.from({ length: 1 + rng.below(3) }, (_, i) => requestFrames(rng, speech, i));
  // Heads first, in the order of the ids and of the table that packs them.
  const said = lines.flatMap(({ head }): Said[] => head);
  const rests = lines.map(({ rest }) => rest).filter((rest) => rest.length > 0);
  while (rests.length > 0) {
    const line = oneOf(rng, rests);
    said.push(line.shift()!);
    if (line.length === 0) rests.splice(rests.indexOf(line), 1);
    if (rng.below(4) === 0) said.push(besides(rng));
  }
  // Trailers are packed when they are said.
  return said.map((one) => (typeof one === "function" ? one() : one));
}

type Said = Buffer | (() => Buffer);

function requestFrames(rng: Rng, speech: Speech, nth: number): { head: Buffer[]; rest: Said[] } {
  const id = 2 * nth + 1;
  const more = rng.below(2) === 0 ? [] : ([["x-a", `v${rng.below(9)}`]] as const);
  const hasBody = rng.below(3) > 0;
  const block = speech.block([...headOf(hasBody ? "POST" : "GET"), ...more]);
  const ends = hasBody ? 0 : Flag.END_STREAM;
  const head: Buffer[] = [];
  if (rng.below(3) === 0) {
    const cut = rng.below(block.length);
    head.push(
      frame(FrameType.HEADERS, ends, id, block.subarray(0, cut)),
      frame(FrameType.CONTINUATION, Flag.END_HEADERS, id, block.subarray(cut)),
    );
  } else head.push(padded(rng, FrameType.HEADERS, ends | Flag.END_HEADERS, id, block));
  if (!hasBody) return { head, rest: [] };
  const rest: Said[] = [];
  for (let pieces = rng.below(4); pieces > 0; pieces--) {
    rest.push(padded(rng, FrameType.DATA, 0, id, Buffer.alloc(rng.below(40), `${pieces}`)));
  }
  if (rng.below(3) > 0) {
    rest.push(padded(rng, FrameType.DATA, Flag.END_STREAM, id, Buffer.alloc(rng.below(9), "e")));
    return { head, rest };
  }
  const flags = Flag.END_STREAM | Flag.END_HEADERS;
  rest.push(() => frame(FrameType.HEADERS, flags, id, speech.block([["x-last", "z"]])));
  return { head, rest };
}

function padded(rng: Rng, type: number, flags: number, id: number, content: Buffer): Buffer {
  if (rng.below(3) > 0) return frame(type, flags, id, content);
  const padding = rng.below(20);
  const whole = Buffer.concat([Buffer.of(padding), content, Buffer.alloc(padding)]);
  return frame(type, flags | Flag.PADDED, id, whole);
}

/** A frame that changes no request. */
function besides(rng: Rng): Buffer {
  switch (rng.below(5)) {
    case 0:
      return frame(FrameType.PING, 0, 0, Buffer.from("a ping !"));
    case 1:
      return frame(FrameType.WINDOW_UPDATE, 0, 0, word(1 + rng.below(100_000)));
    case 2:
      return Speech.settings([Setting.INITIAL_WINDOW_SIZE, 1 + rng.below(100_000)]);
    case 3:
      return frame(0x77, rng.below(256), rng.below(4), Buffer.alloc(rng.below(9)));
    default:
      return frame(FrameType.PRIORITY, 0, 99, Buffer.concat([word(0), Buffer.of(1)]));
  }
}

/** Does one thing to them. Returns what. */
function mutate(rng: Rng, frames: Buffer[]): string {
  const at = rng.below(frames.length);
  const one = frames[at]!;
  switch (rng.below(8)) {
    case 0:
      frames.splice(at, 1);
      return `without frame ${at}`;
    case 1:
      frames.splice(at, 0, Buffer.from(one));
      return `frame ${at} twice`;
    case 2: {
      const other = rng.below(frames.length);
      [frames[at], frames[other]] = [frames[other]!, one];
      return `frames ${at} and ${other} exchanged`;
    }
    case 3:
      frames.splice(at, 0, besides(rng));
      return `another frame before ${at}`;
    case 4: {
      const type = rng.below(10);
      const id = oneOf(rng, [0, 1, 2, 3, 5, 7]);
      const payload = Buffer.alloc(oneOf(rng, [0, 1, 4, 5, 6, 8, 9]), oneOf(rng, [0, 1, 0xff]));
      frames.splice(at, 0, frame(type, oneOf(rng, [0, 1, 4, 5, 8, 0x20]), id, payload));
      return `frame of type ${type} on ${id} before ${at}`;
    }
    default: {
      // Of the header, or of what follows it.
      const byte = rng.below(2) === 0 ? rng.below(9) : rng.below(one.length);
      const bit = 1 << rng.below(8);
      const changed = Buffer.from(one);
      changed[byte]! ^= bit;
      frames[at] = changed;
      return `bit ${bit} of byte ${byte} of frame ${at} turned`;
    }
  }
}

const hasPong = (frames: ReadonlyArray<{ type: number; payload: Buffer }>): boolean =>
  frames.some(({ type, payload }) => type === FrameType.PING && payload.equals(LAST_PING));

/** What was taken of a request that came whole. */
interface Whole {
  readonly body: string;
  readonly last: readonly string[];
}

describe("frames that are nearly right", { timeout: 3_600_000 }, () => {
  let taken = 0;
  let whole = 0;

  async function tryOne(frames: readonly Buffer[], isMutated: boolean): Promise<void> {
    const node = new NodeFrames();
    const ours = new ServerEnd({}, (asked) => readAll(asked, () => answer(asked)));
    try {
      const hello = Speech.hello();
      assert.ok(hello.subarray(0, PREFACE.length).equals(PREFACE));
      // As they are read: node forgets what came whole in the same piece as what ends its connection.
      const pieces = asRead([...frames, frame(FrameType.PING, 0, 0, LAST_PING)]);
      for (const bytes of [hello, ...pieces]) {
        ours.say(bytes);
        await node.say(bytes);
      }
      await turn();
      // A frame that says it is longer takes the last ping for its own, and waits rightly; node has looked into it.
      const isCut = !pieces.at(-1)!.equals(frame(FrameType.PING, 0, 0, LAST_PING));
      // After a client's GOAWAY node breaks off; we do what was asked before.
      const isLeft = pieces.some((piece) => piece[3] === FrameType.GOAWAY);
      judge(ours, node, { isMutated, endsEarly: isCut || isLeft });
    } finally {
      node.close();
      ours.socket.destroy();
      await turn();
    }
  }

  function judge(
    ours: ServerEnd,
    node: NodeFrames,
    { isMutated, endsEarly }: { readonly isMutated: boolean; readonly endsEarly: boolean },
  ): void {
    const had = new Map<number, Whole>();
    for (const { stream, whole, body, trailers } of node.requests) {
      if (whole) had.set(stream, { body, last: trailers });
    }
    const isOver = ours.connection.over;
    const says = `node ${node.isOver ? "has ended it" : `took ${[...had.keys()]}`}, we ${codes(ours)}`;
    if (!isMutated) {
      assert.ok(!isOver && !node.isOver, says);
      assert.equal(ours.asked.length, had.size, says);
    }
    // Nobody hangs: who could read to the end has said so, or why it did not.
    assert.ok(endsEarly || isOver || hasPong(ours.heard), says);
    // Where the RFC has a stream end, node often ends the connection, so that it is no judge of the other streams.
    const isJudge = !node.isOver || isOver || !(endsEarly || hasReset(ours));
    if (node.isOver && isJudge) assert.ok(isOver, `node refuses what we take: ${says}`);
    for (const { exchange, ended, body, trailers } of ours.asked) {
      whole++;
      if (!ended || !isJudge) continue;
      taken++;
      const id = (exchange as unknown as { readonly id: number }).id;
      const theirs = had.get(id);
      assert.ok(theirs !== undefined, `we took ${id}: ${says}`);
      assert.equal(body, theirs.body, says);
      // What may not stand in trailers is left out.
      const last = theirs.last.filter((_, i) => trailers?.includes(theirs.last[i - (i % 2)]!));
      assert.deepEqual(trailers ?? [], last, says);
    }
  }

  it("are taken alike by node:http2, or refused by us", async (t) => {
    let count = 0;
    for (const seed of seeds(CASES)) {
      const rng = seededRng(seed);
      const frames = validFrames(rng);
      const isMutated = rng.below(8) > 0;
      const what = isMutated ? mutate(rng, frames) : "as it should be";
      count++;
      await tryOne(frames, isMutated).catch((error: Error) => {
        const said = `${what}: ${frames.map((one) => one.toString("hex")).join(" ")}`;
        throw new Error(`${error.message}\n${replay(FILE, seed, said)}`, { cause: error });
      });
    }
    t.diagnostic(`${count} cases, ${taken} of ${whole} requests taken whole`);
    if (IS_WHOLE) assert.ok(taken > whole / 2, `only ${taken} of ${whole}: too wild`);
  });
});

/** Cut again where the lengths say so. */
function asRead(frames: readonly Buffer[]): Buffer[] {
  const pieces: Buffer[] = [];
  for (let rest = Buffer.concat(frames); rest.length > 0; ) {
    const end =
      rest.length < FRAME_HEADER_BYTES ? rest.length : frameLength(rest, 0) + FRAME_HEADER_BYTES;
    pieces.push(rest.subarray(0, end));
    rest = rest.subarray(end);
  }
  return pieces;
}

function answer({ exchange }: Asked): void {
  exchange.answer({ status: 204, reason: "", fields: [], body: 0, upgrade: undefined });
  exchange.answerEnd(undefined);
}

function hasReset(ours: ServerEnd): boolean {
  const resets = ours.heard.filter(({ type }) => type === FrameType.RST_STREAM);
  return resets.some(({ payload }) => uint32(payload, 0) !== ErrorCode.NO_ERROR);
}

/** What we have ended, and with what codes. */
function codes(ours: ServerEnd): string {
  const resets = ours.heard.filter(({ type }) => type === FrameType.RST_STREAM);
  const said = resets.map(({ stream, payload }) => `${stream}: ${uint32(payload, 0)}`);
  return `GOAWAY ${ours.goaway}, RST_STREAM ${said}, asked ${ours.asked.length}`;
}
