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
