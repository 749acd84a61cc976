import type { Fields } from "#proxy/exchange/exchange.ts";

/** Largest request body that is kept for another try, bytes. */
export const REPLAY_BYTES_MAX = 65_536;

/** A copy of what a request's body has sent so far, for as long as it is small. */
export class ReplayBody {
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  #overflowed = false;
  ended = false;
  trailers: Fields | undefined = undefined;

  /** False once the body was too large to keep: it cannot be sent again. */
  get complete(): boolean {
    return !this.#overflowed;
  }

  get chunks(): readonly Buffer[] {
    return this.#chunks;
  }

  /**
   * Keeps a copy: codecs recycle the buffers that they hand out.
   * @param untaken no endpoint has it: it is kept in any case. The client is told to wait, so that it is little.
   */
  add(chunk: Buffer, untaken: boolean): void {
    if (this.#overflowed) return;
    this.#bytes += chunk.length;
    if (this.#bytes > REPLAY_BYTES_MAX && !untaken) this.drop();
    else this.#chunks.push(Buffer.from(chunk));
  }

  /** All of it has been sent to an endpoint: what was kept beyond the bound is dropped. */
  taken(): void {
    if (this.#bytes > REPLAY_BYTES_MAX) this.drop();
  }

  /** Frees the copy; the body cannot be sent again. */
  drop(): void {
    this.#overflowed = true;
    this.#chunks.length = 0;
  }
}
