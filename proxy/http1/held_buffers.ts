/*
 * Upstream connections read into one buffer again and again. A chunk of it that a slow client has not
 * taken yet must not be overwritten: its holder says so here, and the connection takes a new buffer.
 */

const held = new WeakSet<ArrayBufferLike>();

/** The memory behind `chunk` stays as it is from now on. */
export function hold(chunk: Buffer): void {
  held.add(chunk.buffer);
}

export function isHeld(buffer: Buffer): boolean {
  return held.has(buffer.buffer);
}

/** How a reader is given to a socket, which then reads into its buffers instead of allocating. */
export interface ReadInto {
  /** Asked after each read: where the next one goes. */
  readonly buffer: () => Uint8Array;
  /** False: reading stops until `resume`. */
  readonly callback: (bytes: number, buffer: Uint8Array) => boolean;
}

/** Bytes read at once. */
export const READ_BYTES = 65_536;

/** What all connections read into between bodies. Whoever keeps a part of it must copy. */
export const SHARED_READ: Buffer = Buffer.allocUnsafeSlow(READ_BYTES);

/** Buffers for bodies, to be used again. */
const FREE_MAX = 64;
const free: Buffer[] = [];

/** A buffer for the reads of one body. */
export function takeReadBuffer(): Buffer {
  return free.pop() ?? Buffer.allocUnsafeSlow(READ_BYTES);
}

/** The body is over. A buffer that somebody still reads from is left to the collector. */
export function giveReadBuffer(buffer: Buffer): void {
  if (free.length < FREE_MAX && !isHeld(buffer)) free.push(buffer);
}
