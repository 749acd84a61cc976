import type { Fields } from "#proxy/exchange/exchange.ts";
import type { FrameWriter, WritingStream } from "#proxy/http2/frame_writer.ts";
import { Flag } from "#proxy/http2/frames.ts";
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

const NOTHING: Buffer[] = [];

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
  #queue = NOTHING;
  #queued = 0;
  #endQueued = false;
  #trailersQueued: Fields | undefined = undefined;
  #inbox = NOTHING;
  #inboxBytes = 0;
  #trailers: Fields | undefined = undefined;
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

  /** Bytes wait for the peer. */
  get isSending(): boolean {
    return this.#queued > 0;
  }

  /** Bytes or an end of the peer's wait for somebody to take them. */
  get hasUnread(): boolean {
    return this.#inboxBytes > 0;
  }

  // ── what the peer sends ──

  receive(chunk: Buffer): void {
    this.moved = true;
    if (this.reading && this.#inboxBytes === 0) this.#hand(chunk);
    else {
      // The chunk's memory is read into again.
      if (this.#inbox === NOTHING) this.#inbox = [];
      this.#inbox.push(Buffer.from(chunk));
      this.#inboxBytes += chunk.length;
    }
  }

  /** The peer's side has ended. */
  receiveEnd(trailers: Fields | undefined): void {
    this.moved = true;
    this.remoteEnded = true;
    this.#trailers = trailers;
    if (this.reading && this.#inboxBytes === 0) {
      this.reading = false;
      this.onPiecesEnd(trailers);
    }
    if (this.localEnded) this.carrier.forget(this);
  }

  /** Goes on handing on what comes, or begins to. */
  protected read(): void {
    if (this.reading) return;
    this.reading = true;
    while (this.reading && this.#inboxBytes > 0) {
      const chunk = this.#inbox.shift()!;
      this.#inboxBytes -= chunk.length;
      this.#hand(chunk);
    }
    if (!this.reading || !this.remoteEnded) return;
    this.reading = false;
    this.onPiecesEnd(this.#trailers);
  }

  #hand(chunk: Buffer): void {
    const { length } = chunk;
    const wantsMore = this.onPiece(chunk);
    this.carrier.consumed(length);
    if (this.closed) return;
    if (!wantsMore) this.reading = false;
    if (this.remoteEnded) return;
    const window = this.carrier.window.stream;
    const due = window - this.#inboxBytes - this.receiveLeft;
    if (due * 2 < window) return;
    this.receiveLeft += due;
    this.carrier.grant(this, due);
  }

  // ── what we send ──

  /** False: the peer reads slowly; `onDrained` says when to go on. What could not be sent is kept. */
  protected send(chunk: Buffer): boolean {
    this.moved = true;
    if (this.#queued === 0) {
      const sent = this.carrier.frames.data(this, chunk, Number.POSITIVE_INFINITY);
      if (sent === chunk.length) {
        if (!this.carrier.frames.congested) return true;
        this.carrier.frames.await(this);
        return false;
      }
      chunk = chunk.subarray(sent);
    }
    if (this.#queue === NOTHING) this.#queue = [];
    this.#queue.push(Buffer.from(chunk));
    this.#queued += chunk.length;
    // Without a window of its own it is the peer's update that wakes it.
    if (this.sendWindow > 0) this.carrier.frames.await(this);
    return false;
  }

  /** Ends our side, after all that waits. */
  protected sendEnd(trailers: Fields | undefined): void {
    if (this.#queued > 0) {
      this.#endQueued = true;
      this.#trailersQueued = trailers;
    } else this.#writeEnd(trailers);
  }

  /** Sends a frame of what waits, or tells that more may come. */
  pump(): void {
    const first = this.#queue[0];
    if (first === undefined) {
      this.onDrained();
      return;
    }
    const sent = this.carrier.frames.data(this, first, 1);
    if (sent > 0) this.moved = true;
    this.#queued -= sent;
    if (sent === first.length) this.#queue.shift();
    else this.#queue[0] = first.subarray(sent);
    if (this.#queued === 0) {
      if (this.#endQueued) this.#writeEnd(this.#trailersQueued);
      else this.onDrained();
    } else if (this.sendWindow > 0) this.carrier.frames.await(this);
  }

  /** The peer's window of this stream has grown. */
  onWindow(): void {
    if (this.#queued > 0 && this.sendWindow > 0) this.carrier.frames.await(this);
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
    if (this.remoteEnded) this.carrier.forget(this);
  }

  /** Forgets all that waits. Called by the connection alone. */
  drop(): void {
    this.closed = true;
    this.reading = false;
    this.#queue = NOTHING;
    this.#queued = 0;
    const unread = this.#inboxBytes;
    this.#inbox = NOTHING;
    this.#inboxBytes = 0;
    if (unread > 0) this.carrier.consumed(unread);
  }
}
