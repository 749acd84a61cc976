/*
 * What the bench's gRPC load and origin agree on: messages of one size, of which a request's says how many it wants
 * in answer. So one origin serves unary calls, streams and ping-pong.
 */

/** Bytes of a message, its length prefix included. */
export const MESSAGE_BYTES = 69;
/** Bytes of gRPC's length prefix. */
export const PREFIX_BYTES = 5;

/** A message that asks for so many. */
export function message(wants: number): Buffer {
  const bytes = Buffer.alloc(MESSAGE_BYTES, "m");
  bytes[0] = 0;
  bytes.writeUInt32BE(MESSAGE_BYTES - PREFIX_BYTES, 1);
  bytes.writeUInt16BE(wants, PREFIX_BYTES);
  return bytes;
}

/** Messages of a stream, whatever pieces they come in. */
export class Messages {
  #seen = 0;
  #wants = 0;

  /** True if no message has begun that is not over. */
  get isWhole(): boolean {
    return this.#seen === 0;
  }

  /** How many were completed by these bytes, and how many answers they want. */
  take(bytes: Buffer): { readonly count: number; readonly wants: number } {
    let [count, wants] = [0, 0];
    for (let at = 0; at < bytes.length; ) {
      if (this.#seen === PREFIX_BYTES) this.#wants = bytes[at]! << 8;
      if (this.#seen === PREFIX_BYTES + 1) this.#wants |= bytes[at]!;
      // The two bytes that matter one by one, what lies around them at once.
      const next =
        this.#seen < PREFIX_BYTES
          ? PREFIX_BYTES
          : this.#seen < PREFIX_BYTES + 2
            ? this.#seen + 1
            : MESSAGE_BYTES;
      const step = Math.min(next - this.#seen, bytes.length - at);
      at += step;
      this.#seen += step;
      if (this.#seen < MESSAGE_BYTES) continue;
      this.#seen = 0;
      count++;
      wants += this.#wants;
    }
    return { count, wants };
  }
}
