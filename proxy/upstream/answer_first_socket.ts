import { Socket } from "node:net";
import { afterPoll } from "#kernel/clock.ts";

/**
 * A connection that is still read when a write to it fails. An endpoint that answers in the middle of a
 * request and closes (413, say) resets what we are still sending; Node then throws away what it has said
 * before. The kernel keeps that, and no more can come: it is read, and then the failure is told.
 */
export class AnswerFirstSocket extends Socket {
  #writeError: Error | undefined = undefined;
  #bytesRead = 0;

  override destroy(error?: Error): this {
    const failedWrite = (error as NodeJS.ErrnoException | undefined)?.syscall === "write";
    if (!failedWrite) return super.destroy(error);
    if (this.#writeError !== undefined) return this;
    this.#writeError = error;
    this.#bytesRead = this.bytesRead;
    this.#readOn();
    return this;
  }

  /** Twice: in the turn that runs now the sockets may have been looked at already. */
  #readOn(): void {
    afterPoll(() => afterPoll(() => this.#judge()));
  }

  #judge(): void {
    if (this.destroyed) return;
    const hasRead = this.bytesRead > this.#bytesRead;
    this.#bytesRead = this.bytesRead;
    // A slow client may take the rest later.
    if (this.isPaused()) this.once("resume", () => this.#readOn());
    else if (hasRead) this.#readOn();
    else super.destroy(this.#writeError);
  }
}
