import type { Socket } from "node:net";
import type { Fields } from "#proxy/exchange/exchange.ts";
import { hold } from "#proxy/http1/held_buffers.ts";
import { chunkLineText, lastChunkText } from "#proxy/http1/serializer.ts";

/** Text up to this length is joined into one write; a larger chunk goes by itself, uncopied. */
const JOIN_BYTES_MAX = 16_384;

/** Queues with text that nothing has flushed yet; emptied once per turn of the event loop. */
const pending: WriteQueue[] = [];

function flushAll(): void {
  for (let i = 0; i < pending.length; i++) pending[i]!.flush();
  pending.length = 0;
}

/**
 * What one side of an HTTP/1 connection writes. Heads and small bodies of one turn leave in one write:
 * a system call costs more than everything else that we do to a small message.
 */
export class WriteQueue {
  readonly #socket: Socket;
  #text = "";
  #listed = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Adds text; leaves at the end of this turn, or with `flush`. */
  text(text: string): void {
    this.#text += text;
    if (!this.#listed) this.#list();
  }

  /** Adds a piece of a body. False: the peer reads slowly. */
  body(chunk: Buffer, chunked: boolean): boolean {
    if (chunk.length <= JOIN_BYTES_MAX) {
      const text = chunk.latin1Slice();
      this.text(chunked ? `${chunkLineText(chunk.length)}${text}\r\n` : text);
      if (this.#text.length > JOIN_BYTES_MAX) this.flush();
    } else this.#large(chunk, chunked);
    return !this.#socket.writableNeedDrain;
  }

  /** Ends a body. */
  end(chunked: boolean, trailers: Fields | undefined): void {
    if (chunked) this.#text += lastChunkText(trailers);
    this.flush();
  }

  flush(): void {
    this.#listed = false;
    if (this.#text === "") return;
    const text = this.#text;
    this.#text = "";
    this.#socket.write(text, "latin1");
  }

  #list(): void {
    this.#listed = true;
    if (pending.push(this) === 1) process.nextTick(flushAll);
  }

  #large(chunk: Buffer, chunked: boolean): void {
    const socket = this.#socket;
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
    // The kernel did not take it all: the rest is still read from the chunk's own memory.
    if (socket.writableLength > 0) hold(chunk);
  }
}
