import { MESSAGE_PREFIX_BYTES } from "#proxy/exchange/grpc.ts";

/** Where the messages of a gRPC body end, which comes in pieces that are cut anywhere. */
export class GrpcMessages {
  /** Of the message that is being read: how much of its prefix has come, and how much of it has not. */
  #prefix = 0;
  #left = 0;

  /** No message has begun that has not ended. */
  get isBetween(): boolean {
    return this.#prefix === 0;
  }

  /** Reads on at `at`. Returns where the message ends, or the length of `chunk` if that is beyond it. */
  next(chunk: Buffer, at: number): number {
    let from = at;
    while (this.#prefix < MESSAGE_PREFIX_BYTES) {
      if (from === chunk.length) return from;
      if (this.#prefix > 0) this.#left = this.#left * 256 + chunk[from]!;
      this.#prefix++;
      from++;
    }
    const end = Math.min(chunk.length, from + this.#left);
    this.#left -= end - from;
    if (this.#left === 0) this.#prefix = 0;
    return end;
  }
}
