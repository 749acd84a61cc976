import { KeptBytes } from "#proxy/http2/kept_bytes.ts";

/** A header block that has begun and is not complete: its CONTINUATION frames are still to come (RFC 9113 §6.10). */
export class OpenBlock {
  readonly stream: number;
  readonly endStream: boolean;
  readonly #parts = new KeptBytes();

  constructor(stream: number, endStream: boolean) {
    this.stream = stream;
    this.endStream = endStream;
  }

  /** Copies a part. False: it is longer than `bytesMax` now. */
  add(part: Buffer, bytesMax: number): boolean {
    this.#parts.push(part);
    return this.#parts.size <= bytesMax;
  }

  joined(): Buffer {
    const pieces: Buffer[] = [];
    for (let piece = this.#parts.first; piece !== undefined; piece = this.#parts.first) {
      pieces.push(piece);
      this.#parts.drop(piece.length);
    }
    return Buffer.concat(pieces);
  }
}
