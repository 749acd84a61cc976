/** A header block that has begun and is not complete: its CONTINUATION frames are still to come (RFC 9113 §6.10). */
export class OpenBlock {
  readonly stream: number;
  readonly endStream: boolean;
  readonly #parts: Buffer[] = [];
  #bytes = 0;

  constructor(stream: number, endStream: boolean) {
    this.stream = stream;
    this.endStream = endStream;
  }

  /** Copies a part. False: it is longer than `bytesMax` now. */
  add(part: Buffer, bytesMax: number): boolean {
    this.#parts.push(Buffer.from(part));
    this.#bytes += part.length;
    return this.#bytes <= bytesMax;
  }

  joined(): Buffer {
    return Buffer.concat(this.#parts);
  }
}
