import type { Socket } from "node:net";
import { LinkedList } from "#kernel/linked_list.ts";
import type { AnswerHead, Fields, RequestHead } from "#proxy/exchange/exchange.ts";
import {
  encodeAnswer,
  encodeInterim,
  encodeRequest,
  encodeTrailers,
} from "#proxy/http2/field_writer.ts";
import {
  FRAME_HEADER_BYTES,
  FRAME_SIZE_DEFAULT,
  PING_BYTES,
  writeDataHeader,
  writeGoaway,
  writeHeaders,
  writePing,
  writeRstStream,
  writeSettings,
  writeSettingsAck,
  writeWindowUpdate,
} from "#proxy/http2/frames.ts";
import { HpackEncoder } from "#proxy/http2/hpack_encoder.ts";
import { Outbox } from "#proxy/http2/outbox.ts";
import { WINDOW_DEFAULT } from "#proxy/http2/receive_window.ts";

/** Room that most heads fit into. */
const HEAD_ROOM = 1_024;
/** A peer may give back what it has read in pieces of 256 bytes, on both levels, and measure with each frame. */
const ANSWERS_PER_FRAME = 4;
const ANSWER_SHIFT = 7;

/** A stream as the one that writes its frames sees it. */
export interface WritingStream {
  readonly id: number;
  readonly closed: boolean;
  /** Bytes that the peer takes of it. */
  sendWindow: number;
  listPrev: WritingStream | undefined;
  listNext: WritingStream | undefined;
  isListed: boolean;
  /** Its turn: sends a frame of what waits. */
  pump(): void;
  /** A frame of it has been put at `at` of the outbox. */
  noteFrame(at: number): void;
}

/**
 * Everything that one connection says: frames go into its outbox, heads through its HPACK encoder, and DATA as far as
 * the peer's windows let it. Streams that have to wait for the connection send a frame each, round and round.
 */
export class FrameWriter {
  readonly out: Outbox;
  readonly encoder = new HpackEncoder();
  /** Bytes that the peer takes on all streams together. */
  sendWindow = WINDOW_DEFAULT;
  /** Small frames that the DATA so far may have had for answer: updates of windows above all. */
  answersDue = 0;
  /** Streams whose turn to send it is. */
  readonly #ready = new LinkedList<WritingStream>();

  constructor(socket: Socket) {
    this.out = new Outbox(socket);
  }

  /** Nothing more should be made for the peer now. */
  get congested(): boolean {
    return this.out.congested;
  }

  /** @param before bytes that go out before it: the preface. @param settings id, value, id, value. */
  greet(before: Buffer, settings: readonly number[], window: number): void {
    const { out } = this;
    const buffer = out.room(256);
    before.copy(buffer, out.at);
    const at = writeSettings(buffer, out.at + before.length, settings);
    out.at = writeWindowUpdate(buffer, at, 0, window);
  }

  settingsAck(): void {
    const buffer = this.out.room(FRAME_HEADER_BYTES);
    this.out.at = writeSettingsAck(buffer, this.out.at);
  }

  /** @param id 0: of the connection. */
  windowUpdate(id: number, increment: number): void {
    const buffer = this.out.room(FRAME_HEADER_BYTES + 4);
    this.out.at = writeWindowUpdate(buffer, this.out.at, id, increment);
  }

  /** @param at where the eight bytes are in `opaque`. */
  ping(opaque: Buffer, at: number, ack: boolean): void {
    const buffer = this.out.room(FRAME_HEADER_BYTES + PING_BYTES);
    this.out.at = writePing(buffer, this.out.at, ack, opaque, at);
  }

  goaway(last: number, code: number): void {
    const buffer = this.out.room(FRAME_HEADER_BYTES + PING_BYTES);
    this.out.at = writeGoaway(buffer, this.out.at, last, code);
  }

  reset(id: number, code: number): void {
    const buffer = this.out.room(FRAME_HEADER_BYTES + 4);
    this.out.at = writeRstStream(buffer, this.out.at, id, code);
  }

  /** DATA frames as far as the windows and the socket let it. @returns bytes of `chunk` written. */
  data(stream: WritingStream, chunk: Buffer, framesMax: number): number {
    const { out } = this;
    let sent = 0;
    for (let frames = 0; frames < framesMax && sent < chunk.length; frames++) {
      const window = Math.min(stream.sendWindow, this.sendWindow, FRAME_SIZE_DEFAULT);
      const bytes = Math.min(chunk.length - sent, window);
      if (bytes <= 0 || out.congested) break;
      const buffer = out.room(FRAME_HEADER_BYTES + bytes);
      stream.noteFrame(out.at);
      const at = writeDataHeader(buffer, out.at, bytes, stream.id, false);
      chunk.copy(buffer, at, sent, sent + bytes);
      out.at = at + bytes;
      stream.sendWindow -= bytes;
      this.sendWindow -= bytes;
      this.answersDue += ANSWERS_PER_FRAME + (bytes >> ANSWER_SHIFT);
      sent += bytes;
    }
    return sent;
  }

  /** An empty DATA frame that ends the stream. */
  end(stream: WritingStream): void {
    const buffer = this.out.room(FRAME_HEADER_BYTES);
    this.out.at = writeDataHeader(buffer, this.out.at, 0, stream.id, true);
  }

  /*
   * Heads: each is written once more, with the room that its writer has asked for, where it does not fit.
   */

  /** Trailers, which end the stream. */
  trailers(stream: WritingStream, fields: Fields, room = HEAD_ROOM): void {
    const buffer = this.out.room(room);
    const end = encodeTrailers(this.encoder, fields, undefined, buffer, this.#blockAt);
    if (end < 0) this.trailers(stream, fields, FRAME_HEADER_BYTES - end);
    else this.#put(stream, buffer, end, true);
  }

  /** The head of an answer; the stream goes on. */
  answer(stream: WritingStream, head: AnswerHead, room = HEAD_ROOM): void {
    const buffer = this.out.room(room);
    const end = encodeAnswer(this.encoder, head, head.neverIndexed, buffer, this.#blockAt);
    if (end < 0) this.answer(stream, head, FRAME_HEADER_BYTES - end);
    else this.#put(stream, buffer, end, false);
  }

  /** An interim answer. */
  interim(stream: WritingStream, status: number, fields: Fields, room = HEAD_ROOM): void {
    const buffer = this.out.room(room);
    const end = encodeInterim(this.encoder, status, fields, buffer, this.#blockAt);
    if (end < 0) this.interim(stream, status, fields, FRAME_HEADER_BYTES - end);
    else this.#put(stream, buffer, end, false);
  }

  /** The head of a request; the stream goes on. */
  request(
    stream: WritingStream,
    head: RequestHead,
    scheme: "http" | "https",
    room = HEAD_ROOM,
  ): void {
    const buffer = this.out.room(room);
    const end = encodeRequest(this.encoder, head, scheme, head.neverIndexed, buffer, this.#blockAt);
    if (end < 0) this.request(stream, head, scheme, FRAME_HEADER_BYTES - end);
    else this.#put(stream, buffer, end, false);
  }

  /** Where a header block goes: the header of its frame comes before it. */
  get #blockAt(): number {
    return this.out.at + FRAME_HEADER_BYTES;
  }

  #put(stream: WritingStream, buffer: Buffer, end: number, endStream: boolean): void {
    const { out } = this;
    let after = writeHeaders(buffer, out.at, end, stream.id, endStream, FRAME_SIZE_DEFAULT);
    if (after < 0) {
      // The tables have moved on: the block is the same in a larger place.
      const block = Buffer.from(buffer.subarray(out.at + FRAME_HEADER_BYTES, end));
      const larger = out.room(-after);
      block.copy(larger, out.at + FRAME_HEADER_BYTES);
      const blockEnd = out.at + FRAME_HEADER_BYTES + block.length;
      after = writeHeaders(larger, out.at, blockEnd, stream.id, endStream, FRAME_SIZE_DEFAULT);
    }
    stream.noteFrame(out.at);
    out.at = after;
  }

  /** `pump` of the stream is called when it is its turn. */
  await(stream: WritingStream): void {
    if (!stream.isListed && !stream.closed) this.#ready.push(stream);
  }

  /** Those who wait send a frame each, round and round. */
  pump(): void {
    while (this.#ready.size > 0 && this.sendWindow > 0 && !this.out.congested) {
      this.#ready.shift()!.pump();
    }
  }

  /** Its turn does not come any more. */
  forget(stream: WritingStream): void {
    this.#ready.remove(stream);
  }
}
