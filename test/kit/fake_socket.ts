import { EventEmitter } from "node:events";
import type { Socket } from "node:net";
import type { ReadInto } from "#proxy/socket/held_buffers.ts";
import { endTurn } from "#proxy/socket/work.ts";

/** How a connection came to its end; "" if it is open. */
export type Ending = "" | "end" | "destroy" | "reset";

/** As much of a socket as the HTTP/1 connections use, without a system beneath: tests can cut its input anywhere. */
export class FakeSocket extends EventEmitter {
  /** All that was written, one character a byte. */
  written = "";
  ending: Ending = "";
  paused = false;
  bytesRead = 0;
  bytesWritten = 0;
  /** The peer takes nothing: written bytes wait here. */
  stalled = false;
  writableLength = 0;
  writableNeedDrain = false;
  destroyed = false;
  errored: Error | null = null;
  /** Writes after its end: a real one would cut off what was on its way. */
  late = 0;
  /** Of an upstream's: where it reads into. */
  onread: ReadInto | undefined = undefined;
  #waiting: Buffer[] = [];
  #eof = false;

  /** To be handed to the connections. */
  get socket(): Socket {
    return this as unknown as Socket;
  }

  // ── what the peer does ──

  /** The peer's next bytes; held back while nobody reads. */
  say(bytes: Buffer): void {
    if (this.destroyed) return;
    this.#waiting.push(bytes);
    this.#deliver();
    endTurn();
  }

  /** The peer says no more. */
  sayEnd(): void {
    this.#eof = true;
    this.#deliver();
  }

  #deliver(): void {
    while (!this.paused && !this.destroyed && this.#waiting.length > 0) {
      const bytes = this.#waiting.shift()!;
      this.bytesRead += bytes.length;
      if (this.onread === undefined) this.emit("data", Buffer.from(bytes));
      else {
        const into = this.onread.buffer();
        into.set(bytes);
        if (!this.onread.callback(bytes.length, into)) this.paused = true;
      }
    }
    if (this.#eof && !this.paused && !this.destroyed && this.#waiting.length === 0) {
      this.#eof = false;
      this.emit("end");
    }
  }

  // ── what the connection does ──

  write(data: string | Uint8Array): boolean {
    if (this.ending === "end") this.late++;
    if (this.destroyed || this.ending === "end") return false;
    const text = typeof data === "string" ? data : Buffer.from(data).latin1Slice();
    this.written += text;
    this.bytesWritten += text.length;
    return true;
  }

  cork(): void {}
  uncork(): void {}

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    this.#deliver();
  }

  end(): void {
    if (this.ending === "") this.ending = "end";
  }

  destroy(): void {
    this.#destroy("destroy");
  }

  /** All that was written has left by now. */
  destroySoon(): void {
    this.#destroy("end");
  }

  resetAndDestroy(): void {
    this.#destroy("reset");
  }

  #destroy(how: Ending): void {
    if (this.destroyed) return;
    this.destroyed = true;
    if (this.ending === "") this.ending = how;
    process.nextTick(() => this.emit("close"));
  }
}
