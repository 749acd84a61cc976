import type { Fields } from "#proxy/exchange/exchange.ts";
import type { FrameWriter, WritingStream } from "#proxy/http2/frame_writer.ts";
import { Flag } from "#proxy/http2/frames.ts";
import { KeptBytes } from "#proxy/http2/kept_bytes.ts";
import { type ReceiveWindow, WINDOW_DEFAULT } from "#proxy/http2/receive_window.ts";

/** What a stream needs of the connection that carries it. */
export interface StreamCarrier {
  readonly frames: FrameWriter;
  readonly window: ReceiveWindow;
  /** The stream may send `increment` bytes more. */
  grant(stream: Http2Stream, increment: number): void;
  /** Bytes that had come have been taken by whoever they were for. */
  consumed(bytes: number): void;
  /** Both sides have ended, or it was reset: the connection forgets the stream. */
  forget(stream: Http2Stream): void;
  /** Ends a stream with an error code. */
  reset(stream: Http2Stream, code: number): void;
}

/** Where nothing has ever had to wait. */
const NONE_KEPT = new KeptBytes();

/**
 * One stream, of either role: its windows, what waits to be sent and what waits to be read. What waits is bounded,
 * for who hands it in is told to wait, and the peer may send no more than its window.
 */
export abstract class Http2Stream implements WritingStream {
  listPrev: WritingStream | undefined = undefined;
  listNext: WritingStream | undefined = undefined;
  isListed = false;
  readonly id: number;
  protected readonly carrier: StreamCarrier;
  /** Bytes that the peer takes; below 0 after a change of its settings (RFC 9113 §6.9.2). */
  sendWindow: number;
  /** Bytes that the peer may still send. */
  receiveLeft = WINDOW_DEFAULT;
  /** Of a body whose length was said: what is still to come; -1: nobody knows. */
  bodyLeft = -1;
  /** The frame that is being read is the peer's last: it needs no more window. */
  ending = false;
  /** The peer says no more. */
  remoteEnded = false;
  /** We say no more. */
  localEnded = false;
  /** Forgotten by its connection. */
  closed = false;
  /** Something was read or sent since the connection last looked. */
  moved = true;
  /** For how long nothing has, ms, as the connection has seen it. */
  stillMs = 0;
  /** Somebody takes what comes. */
  protected reading = false;
  /** Most streams never need either. */
  #queue = NONE_KEPT;
  #endQueued = false;
  #trailersQueued: Fields | undefined = undefined;
  #inbox = NONE_KEPT;
  #trailers: Fields | undefined = undefined;
  /** The reader has heard of the peer's end. */
  #endTold = false;
  /** Where our last frame lies in the outbox, and of which write it is. */
  #lastFrameAt = -1;
  #lastFrameWrite = -1;

  constructor(carrier: StreamCarrier, id: number, sendWindow: number) {
    this.carrier = carrier;
    this.id = id;
    this.sendWindow = sendWindow;
  }

  /** Hands on a piece of what the peer sends. False: no more for now. */
  protected abstract onPiece(chunk: Buffer): boolean;
  protected abstract onPiecesEnd(trailers: Fields | undefined): void;
  /** All that waited has been sent, and more may follow. */
  protected abstract onDrained(): void;
  /** The peer has reset it, or has broken the rules and was reset. */
  abstract onReset(code: number, detail: string): void;
  /** Its connection has ended. */
  abstract onLost(detail: string): void;

  /** Whether what has come is still for somebody once both sides have ended. */
  protected get readsToTheEnd(): boolean {
    return true;
  }

  /** Bytes wait for the peer. */
  get isSending(): boolean {
    return this.#queue.size > 0;
  }

  // ── what the peer sends ──

  receive(chunk: Buffer): void {
    this.moved = true;
    if (this.reading && this.#inbox.size === 0) this.#hand(chunk);
    // The chunk's memory is read into again.
    else {
      if (this.#inbox === NONE_KEPT) this.#inbox = new KeptBytes();
      this.#inbox.push(chunk);
    }
  }

  /** The peer's side has ended. */
  receiveEnd(trailers: Fields | undefined): void {
    this.moved = true;
    this.remoteEnded = true;
    this.#trailers = trailers;
    if (this.reading && this.#inbox.size === 0) this.#tellEnd();
    this.#forgetIfDone();
  }

  /** Goes on handing on what comes, or begins to. */
  protected read(): void {
    if (this.reading) return;
    this.reading = true;
    for (let chunk = this.#inbox.first; this.reading && chunk !== undefined; ) {
      this.#inbox.drop(chunk.length);
      this.#hand(chunk);
      chunk = this.#inbox.first;
    }
    if (!this.reading || !this.remoteEnded) return;
    this.#tellEnd();
    this.#forgetIfDone();
  }

  #hand(chunk: Buffer): void {
    const { length } = chunk;
    const wantsMore = this.onPiece(chunk);
    this.carrier.consumed(length);
    if (this.closed) return;
    if (!wantsMore) this.reading = false;
    this.refill();
  }

  /** Gives back to the peer what has been taken, if that is worth a frame. */
  refill(): void {
    if (this.remoteEnded || this.ending) return;
    const window = this.carrier.window.stream;
    const due = window - this.#inbox.size - this.receiveLeft;
    // Early, so that most of a window is still on its way when a round trip begins to be measured.
    if (due * 4 < window) return;
    this.receiveLeft += due;
    this.carrier.grant(this, due);
  }

  #tellEnd(): void {
    this.reading = false;
    if (this.#endTold) return;
    this.#endTold = true;
    this.onPiecesEnd(this.#trailers);
  }

  /** Whoever reads slowly takes the rest of a stream that its connection has forgotten. */
  #forgetIfDone(): void {
    if (!this.localEnded || !this.remoteEnded) return;
    this.carrier.forget(this);
    if (!this.readsToTheEnd) this.#dropUnread();
  }

  #dropUnread(): void {
    this.reading = false;
    // Without what is dropped it is no end.
    this.#endTold = true;
    const unread = this.#inbox.size;
    this.#inbox.clear();
    if (unread > 0) this.carrier.consumed(unread);
  }

  // ── what we send ──

  /** False: the peer reads slowly; `onDrained` says when to go on. What could not be sent is kept. */
  protected send(chunk: Buffer): boolean {
    this.moved = true;
    if (this.#queue.size === 0) {
      const sent = this.carrier.frames.data(this, chunk, Number.POSITIVE_INFINITY);
      if (sent === chunk.length) {
        if (!this.carrier.frames.congested) return true;
        this.carrier.frames.await(this);
        return false;
      }
      chunk = chunk.subarray(sent);
    }
    if (this.#queue === NONE_KEPT) this.#queue = new KeptBytes();
    this.#queue.push(chunk);
    // Without a window of its own it is the peer's update that wakes it.
    if (this.sendWindow > 0) this.carrier.frames.await(this);
    return false;
  }

  /** Ends our side, after all that waits. */
  protected sendEnd(trailers: Fields | undefined): void {
    if (this.#queue.size > 0) {
      this.#endQueued = true;
      this.#trailersQueued = trailers;
    } else this.#writeEnd(trailers);
  }

  /** The peer has said all it had to, and wants no more of us (RFC 9113 §8.1): what it has said still counts. */
  sendNoMore(): void {
    const waits = this.isListed || this.#queue.size > 0;
    this.carrier.frames.forget(this);
    this.#queue.clear();
    this.localEnded = true;
    this.#forgetIfDone();
    if (waits && !this.closed && !this.#endQueued) this.onDrained();
  }

  /** Sends a frame of what waits, or tells that more may come. */
  pump(): void {
    const { first } = this.#queue;
    if (first === undefined) {
      this.onDrained();
      return;
    }
    const sent = this.carrier.frames.data(this, first, 1);
    if (sent > 0) this.moved = true;
    this.#queue.drop(sent);
    if (this.#queue.size === 0) {
      if (this.#endQueued) this.#writeEnd(this.#trailersQueued);
      else this.onDrained();
    } else if (this.sendWindow > 0) this.carrier.frames.await(this);
  }

  /** The peer's window of this stream has grown. */
  onWindow(): void {
    if (this.#queue.size > 0 && this.sendWindow > 0) this.carrier.frames.await(this);
  }

  /** A frame of this stream has been put at `at` of the outbox: as long as it is there it can be made the last one. */
  noteFrame(at: number): void {
    this.#lastFrameAt = at;
    this.#lastFrameWrite = this.carrier.frames.out.writes;
  }

  #writeEnd(trailers: Fields | undefined): void {
    this.localEnded = true;
    const { frames } = this.carrier;
    if (trailers !== undefined && trailers.length > 0) frames.trailers(this, trailers);
    else if (this.#lastFrameAt >= 0 && this.#lastFrameWrite === frames.out.writes) {
      frames.out.buffer[this.#lastFrameAt + 4]! |= Flag.END_STREAM;
    } else frames.end(this);
    this.#forgetIfDone();
  }

  /** Forgets all that waits. Called by the connection alone. */
  drop(): void {
    this.closed = true;
    this.#queue.clear();
    this.#dropUnread();
  }
}
