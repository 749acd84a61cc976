import type { Socket } from "node:net";
import type { BodySink } from "#proxy/exchange/exchange.ts";

const EMPTY: Buffer = Buffer.alloc(0);

/** Whose tunnel it is. */
export interface TunnelOwner {
  /** The client says no more, and all that it has said was passed on: `sink` is to be told of the end. */
  onTunnelEnd(sink: BodySink): void;
}

/** How far a connection had been read when it became a tunnel. */
export interface TunnelStart {
  /** Read, and passed on to nobody. */
  readonly unread: Buffer;
  /** The client has ended its side. */
  readonly ended: boolean;
  /** Nothing is to be read before `resume`. */
  readonly held: boolean;
}

/** What a client sends through a tunnel: passed on as it comes, for it has no framing of ours. */
export class TunnelReads {
  readonly #owner: TunnelOwner;
  readonly #socket: Socket;
  /** What nobody has taken yet. */
  #unread: Buffer;
  #ended: boolean;
  #held: boolean;
  #sink: BodySink | undefined = undefined;

  constructor(owner: TunnelOwner, socket: Socket, start: TunnelStart) {
    this.#owner = owner;
    this.#socket = socket;
    this.#unread = start.unread;
    this.#ended = start.ended;
    this.#held = start.held;
  }

  /** Somebody takes it, and has not yet been told of its end. */
  get isTaken(): boolean {
    return this.#sink !== undefined;
  }

  takeBy(sink: BodySink): void {
    this.#sink = sink;
    this.#pass();
  }

  resume(): void {
    if (!this.#held) return;
    this.#held = false;
    this.#pass();
  }

  take(chunk: Buffer): void {
    this.#unread = this.#unread.length === 0 ? chunk : Buffer.concat([this.#unread, chunk]);
    this.#pass();
  }

  end(): void {
    this.#ended = true;
    this.#pass();
  }

  /** `memory` is about to be overwritten. */
  letGo(memory: ArrayBufferLike): void {
    if (this.#unread.buffer === memory) this.#unread = Buffer.from(this.#unread);
  }

  #pass(): void {
    const sink = this.#sink;
    if (sink === undefined || this.#held) return;
    const chunk = this.#unread;
    this.#unread = EMPTY;
    if (chunk.length > 0 && !sink.onBody(chunk)) {
      this.#held = true;
      this.#socket.pause();
    } else if (this.#ended) {
      this.#sink = undefined;
      this.#owner.onTunnelEnd(sink);
    } else this.#socket.resume();
  }
}
