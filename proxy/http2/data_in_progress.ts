import type { Http2Stream } from "#proxy/http2/stream.ts";

/** The DATA frame that is being read: it is handed on as it comes, however much of it is here. */
export class DataInProgress {
  /** Some of it is still to come. */
  active = false;
  #left = 0;
  #paddingLeft = 0;
  #ends = false;
  #stream: Http2Stream | undefined = undefined;
  readonly #dropped: (bytes: number) => void;

  /** @param dropped is told of bytes that nobody wants. */
  constructor(dropped: (bytes: number) => void) {
    this.#dropped = dropped;
  }

  /** @param stream undefined: nobody wants it. @param endStream it is the last of its stream. */
  begin(
    stream: Http2Stream | undefined,
    content: number,
    padding: number,
    endStream: boolean,
  ): void {
    this.active = true;
    this.#stream = stream;
    this.#left = content;
    this.#paddingLeft = padding;
    this.#ends = endStream;
    if (endStream && stream !== undefined) stream.ending = true;
  }

  /** Hands on what is here. Returns where it stopped. */
  read(buffer: Buffer, from: number): number {
    let at = from;
    const here = Math.min(this.#left, buffer.length - at);
    const stream = this.#stream;
    if (here > 0) {
      this.#left -= here;
      if (stream === undefined || stream.closed) this.#dropped(here);
      else stream.receive(buffer.subarray(at, at + here));
      at += here;
    }
    if (this.#left > 0) return at;
    const padding = Math.min(this.#paddingLeft, buffer.length - at);
    this.#paddingLeft -= padding;
    at += padding;
    if (this.#paddingLeft > 0) return at;
    this.active = false;
    this.#stream = undefined;
    if (this.#ends && stream !== undefined && !stream.closed) stream.receiveEnd(undefined);
    return at;
  }
}
