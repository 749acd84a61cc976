import type { Socket } from "node:net";

const EMPTY: Buffer = Buffer.alloc(0);

/** How reading the first bytes ends. */
export interface PreambleEnds<T> {
  /** @param bytes all that was read so far. */
  readonly found: (found: Exclude<T, { kind: "more" } | { kind: "bad" }>, bytes: Buffer) => void;
  readonly refused: () => void;
  /** The port accepts no more: whoever wants to say something has to say it soon. */
  readonly drain: () => void;
  /** The client went away first. */
  readonly gone: () => void;
}

/** The first bytes of a connection, read by somebody else than the one who will have it. */
export class Preamble<T extends { readonly kind: string }> {
  readonly #socket: Socket;
  readonly #read: (bytes: Buffer) => T | { readonly kind: "more" } | { readonly kind: "bad" };
  readonly #ends: PreambleEnds<T>;
  #bytes = EMPTY;
  readonly #onData = (chunk: Buffer): void => this.#more(chunk);
  readonly #onClose = (): void => this.#ends.gone();
  readonly #onEnd = (): void => void this.#socket.destroy();
  readonly #onError = (): void => {};

  constructor(
    socket: Socket,
    read: (bytes: Buffer) => T | { readonly kind: "more" } | { readonly kind: "bad" },
    ends: PreambleEnds<T>,
  ) {
    this.#socket = socket;
    this.#read = read;
    this.#ends = ends;
    socket.on("data", this.#onData);
    socket.on("end", this.#onEnd);
    socket.on("close", this.#onClose);
    socket.on("error", this.#onError);
  }

  refuse(): void {
    this.#leave();
    this.#ends.refused();
    // Its late errors are nobody's any more.
    this.#socket.on("error", this.#onError);
    this.#socket.destroy();
  }

  /** It is nothing yet. */
  info(): undefined {
    return undefined;
  }

  drain(): void {
    this.#ends.drain();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #more(chunk: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    const found = this.#read(this.#bytes);
    if (found.kind === "more") return;
    if (found.kind === "bad") {
      this.refuse();
      return;
    }
    this.#leave();
    this.#socket.pause();
    this.#ends.found(found as Exclude<T, { kind: "more" } | { kind: "bad" }>, this.#bytes);
  }

  #leave(): void {
    this.#socket.off("data", this.#onData);
    this.#socket.off("end", this.#onEnd);
    this.#socket.off("close", this.#onClose);
    this.#socket.off("error", this.#onError);
  }
}
