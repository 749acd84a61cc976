import type { Socket } from "node:net";
import { type Flushed, flushAfterWork } from "#proxy/socket/work.ts";

/** Room of a buffer: four frames of the size that everybody takes, and a little for what stands between. */
const BUFFER_BYTES = 4 * (16_384 + 9) + 512;
/** Buffers kept for the next turn. */
const FREE_MAX = 64;
const free: Buffer<ArrayBuffer>[] = [];
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
    if (buffer.length - this.at >= bytes) return buffer;
    if (this.at > 0) this.#write();
    else if (buffer !== NONE) giveBack(buffer);
    if (!this.#listed) {
      this.#listed = true;
      flushAfterWork(this);
    }
    this.#buffer =
      bytes <= BUFFER_BYTES ? (free.pop() ?? newBuffer()) : Buffer.allocUnsafeSlow(bytes);
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
    else if (this.#buffer !== NONE) giveBack(this.#buffer);
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

function newBuffer(): Buffer<ArrayBuffer> {
  return Buffer.allocUnsafeSlow(BUFFER_BYTES);
}

function giveBack(buffer: Buffer<ArrayBuffer>): void {
  if (buffer.length === BUFFER_BYTES && free.length < FREE_MAX) free.push(buffer);
}
