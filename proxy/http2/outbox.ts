import type { Socket } from "node:net";
import { type Flushed, flushAfterTurn } from "#proxy/socket/work.ts";

/** What most connections write in one turn. */
const SMALL_BYTES = 4_096;
/** Room of a buffer: four frames of the size that everybody takes, and a little for what stands between. */
const BUFFER_BYTES = 4 * (16_384 + 9) + 512;
/** Buffers kept for the next turn, of each size. */
const SMALL_MAX = 512;
const LARGE_MAX = 64;
const small: Buffer<ArrayBuffer>[] = [];
const large: Buffer<ArrayBuffer>[] = [];
const NONE = Buffer.alloc(0);

/**
 * What one connection writes in one turn of the event loop: frames go straight into a buffer that leaves in
 * one write, and is used again when the socket is done with it.
 */
export class Outbox implements Flushed {
  readonly #socket: Socket;
  /** TLS never says at once that all is written. */
  readonly #isTls: boolean;
  #buffer = NONE;
  /** Where the next frame goes. */
  at = 0;
  /** Counts what has left: as long as it is the same, what was written can be changed. */
  writes = 0;
  #listed = false;
  /** Buffers that the socket still reads from, oldest first. */
  readonly #taken: Buffer<ArrayBuffer>[] = [];
  readonly #onWritten = (): void => giveBack(this.#taken.shift()!);

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#isTls = (socket as { encrypted?: boolean }).encrypted === true;
  }

  /** The buffer with room for `bytes` at `at`; what was in it before may have left. */
  room(bytes: number): Buffer {
    const buffer = this.#buffer;
    const { at } = this;
    if (buffer.length - at >= bytes) return buffer;
    if (!this.#listed) {
      this.#listed = true;
      flushAfterTurn(this);
    }
    if (buffer.length === SMALL_BYTES && at + bytes <= BUFFER_BYTES) {
      this.#buffer = take(BUFFER_BYTES);
      buffer.copy(this.#buffer, 0, 0, at);
      giveBack(buffer);
    } else {
      if (at > 0) this.#write();
      else giveBack(buffer);
      this.#buffer = take(bytes);
    }
    return this.#buffer;
  }

  /** The buffer as it is: to change what `writes` says is still there. */
  get buffer(): Buffer {
    return this.#buffer;
  }

  /** The peer reads slowly: nothing but what has to be said should be added. */
  get congested(): boolean {
    return this.#socket.writableNeedDrain;
  }

  flush(): void {
    this.#listed = false;
    if (this.at > 0) this.#write();
    else giveBack(this.#buffer);
    this.#buffer = NONE;
  }

  #write(): void {
    const { at } = this;
    const buffer = this.#buffer;
    this.at = 0;
    this.writes++;
    const socket = this.#socket;
    const bytes = buffer.subarray(0, at);
    if (this.#isTls) {
      this.#taken.push(buffer);
      socket.write(bytes, this.#onWritten);
      return;
    }
    socket.write(bytes);
    // Otherwise it belongs to the socket.
    if (socket.writableLength === 0) giveBack(buffer);
  }
}

/** A buffer with room for that many bytes. */
function take(bytes: number): Buffer<ArrayBuffer> {
  if (bytes <= SMALL_BYTES) return small.pop() ?? Buffer.allocUnsafeSlow(SMALL_BYTES);
  if (bytes <= BUFFER_BYTES) return large.pop() ?? Buffer.allocUnsafeSlow(BUFFER_BYTES);
  return Buffer.allocUnsafeSlow(bytes);
}

function giveBack(buffer: Buffer<ArrayBuffer>): void {
  if (buffer.length === SMALL_BYTES) {
    if (small.length < SMALL_MAX) small.push(buffer);
  } else if (buffer.length === BUFFER_BYTES && large.length < LARGE_MAX) large.push(buffer);
}
