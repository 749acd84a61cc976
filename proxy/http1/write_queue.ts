import type { Socket } from "node:net";
import type { Fields } from "#proxy/exchange/exchange.ts";
import { chunkLineText, lastChunkText } from "#proxy/http1/serializer.ts";
import { hold, JOIN_BYTES_MAX, letGo } from "#proxy/socket/held_buffers.ts";
import { type Flushed, flushAfterWork } from "#proxy/socket/work.ts";

/** From this length on a chunk is joined as bytes, not as text. */
const JOIN_AS_BYTES_MIN = 1_024;

/** Where text and a chunk are put together; whoever cannot write it at once keeps it, and there is a new one. */
let joining = Buffer.allocUnsafeSlow(2 * JOIN_BYTES_MAX);

const NONE_HELD: ArrayBufferLike[] = [];

/**
 * What one side of an HTTP/1 connection writes. Heads and small bodies of one turn leave in one write:
 * a system call costs more than everything else that we do to a small message.
 */
export class WriteQueue implements Flushed {
  readonly #socket: Socket;
  readonly #joins: boolean;
  #text = "";
  #listed = false;
  /** Memory that the socket still reads from. */
  #held: ArrayBufferLike[] = NONE_HELD;
  /** Set it before a message: true until the kernel has taken something of it, or may have. */
  unsent = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    // TLS never says at once that all is written.
    this.#joins = (socket as { encrypted?: boolean }).encrypted !== true;
    socket.once("close", () => this.drained());
  }

  /** Adds text; leaves at the end of this turn, or with `flush`. */
  text(text: string): void {
    this.#text += text;
    if (!this.#listed) this.#list();
  }

  /** Writes text at once: nothing follows it in this turn. */
  now(text: string): void {
    this.#text += text;
    this.flush();
  }

  /** Adds a piece of a body. False: the peer reads slowly. */
  body(chunk: Buffer, chunked: boolean): boolean {
    const { length } = chunk;
    if (this.#joins && !chunked && length >= JOIN_AS_BYTES_MIN && length <= JOIN_BYTES_MAX) {
      this.#join(chunk);
    } else if (length <= JOIN_BYTES_MAX) {
      const text = chunk.latin1Slice();
      this.text(chunked ? `${chunkLineText(length)}${text}\r\n` : text);
      if (this.#text.length > JOIN_BYTES_MAX) this.flush();
    } else this.#large(chunk, chunked);
    return !this.#socket.writableNeedDrain;
  }

  /** The peer reads slowly: nothing more should be made for it. */
  get congested(): boolean {
    if (this.#text.length > JOIN_BYTES_MAX) this.flush();
    return this.#socket.writableNeedDrain;
  }

  /** Ends a body. */
  end(chunked: boolean, trailers: Fields | undefined): void {
    if (chunked) this.#text += lastChunkText(trailers);
    this.flush();
  }

  /** The socket has taken everything, or will take nothing more: what was held for it is free. */
  drained(): void {
    const held = this.#held;
    if (held.length === 0) return;
    this.#held = NONE_HELD;
    for (const memory of held) letGo(memory);
  }

  flush(): void {
    this.#listed = false;
    if (this.#text === "") return;
    const text = this.#text;
    this.#text = "";
    this.#socket.write(text, "latin1");
    if (this.unsent) this.#noteSent();
  }

  /** A write that the kernel refuses whole is an error of the socket at once; it is told later. */
  #noteSent(): void {
    this.unsent = this.#socket.errored !== null;
  }

  #list(): void {
    this.#listed = true;
    flushAfterWork(this);
  }

  /** Writes at once: a message of known length mostly ends here. */
  #join(chunk: Buffer): void {
    const socket = this.#socket;
    if (this.#text.length > JOIN_BYTES_MAX) this.flush();
    const at = joining.write(this.#text, 0, "latin1");
    this.#text = "";
    const end = at + chunk.length;
    joining.set(chunk, at);
    socket.write(joining.subarray(0, end));
    if (this.unsent) this.#noteSent();
    if (socket.writableLength > 0) joining = Buffer.allocUnsafeSlow(2 * JOIN_BYTES_MAX);
  }

  #large(chunk: Buffer, chunked: boolean): void {
    const socket = this.#socket;
    // It does not tell of every end: only of those after which it was told to wait.
    if (socket.writableLength === 0) this.drained();
    const before = chunked ? this.#text + chunkLineText(chunk.length) : this.#text;
    this.#text = chunked ? "\r\n" : "";
    if (chunked && !this.#listed) this.#list();
    if (before === "") socket.write(chunk);
    else {
      socket.cork();
      socket.write(before, "latin1");
      socket.write(chunk);
      socket.uncork();
    }
    if (this.unsent) this.#noteSent();
    // The kernel did not take it all: the rest is still read from the chunk's own memory.
    if (socket.writableLength === 0) return;
    hold(chunk);
    if (this.#held === NONE_HELD) this.#held = [chunk.buffer];
    else this.#held.push(chunk.buffer);
  }
}
