/*
 * Connections read into one buffer again and again. A chunk of it that a slow peer has not taken yet must
 * not be overwritten: its holder says so here, and the reader takes another buffer and leaves this one. When
 * the last holder lets go of it, it can be read into again.
 */

/** Up to this length what is written is joined into one write; a longer chunk goes by itself, uncopied, and is held. */
export const JOIN_BYTES_MAX = 16_384;

/** Holders of each memory. */
const held = new WeakMap<ArrayBufferLike, number>();
/** Held ones whose reader has taken another. */
const left = new WeakMap<ArrayBufferLike, Buffer<ArrayBuffer>>();

/** The memory behind `chunk` stays as it is until it is let go. */
export function hold(chunk: Buffer): void {
  held.set(chunk.buffer, (held.get(chunk.buffer) ?? 0) + 1);
}

/** Goes with one `hold` of a chunk of this memory. */
export function letGo(memory: ArrayBufferLike): void {
  const others = (held.get(memory) ?? 0) - 1;
  if (others > 0) {
    held.set(memory, others);
    return;
  }
  held.delete(memory);
  const buffer = left.get(memory);
  if (buffer === undefined) return;
  left.delete(memory);
  giveReadBuffer(buffer);
}

/** Another buffer in place of one that is held. */
export function replaceHeld(buffer: Buffer<ArrayBuffer>): Buffer<ArrayBuffer> {
  left.set(buffer.buffer, buffer);
  return takeReadBuffer();
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

/** Bytes read at once between bodies. */
export const READ_BYTES = 65_536;
/** And of a body: a quarter of the system calls. */
const LARGE_BYTES = 262_144;
/** As many large buffers as there may be. When slow peers hold them all, bodies are read in smaller pieces. */
const LARGE_MAX = 64;

/** What all connections read into between bodies. Whoever keeps a part of it must copy. */
export const SHARED_READ: Buffer<ArrayBuffer> = Buffer.allocUnsafeSlow(READ_BYTES);

/** Buffers for bodies, to be used again. */
const FREE_MAX = 64;
const freeLarge: Buffer<ArrayBuffer>[] = [];
const free: Buffer<ArrayBuffer>[] = [];
let large = 0;

/** A buffer for the reads of one body. */
export function takeReadBuffer(): Buffer<ArrayBuffer> {
  const used = freeLarge.pop();
  if (used !== undefined) return used;
  if (large < LARGE_MAX) {
    large++;
    return Buffer.allocUnsafeSlow(LARGE_BYTES);
  }
  return free.pop() ?? Buffer.allocUnsafeSlow(READ_BYTES);
}

/** Nobody reads into it any more: as soon as nobody reads from it either it can be used again. */
export function giveReadBuffer(buffer: Buffer<ArrayBuffer>): void {
  if (isHeld(buffer)) left.set(buffer.buffer, buffer);
  else if (buffer.length === LARGE_BYTES) freeLarge.push(buffer);
  else if (free.length < FREE_MAX) free.push(buffer);
}
