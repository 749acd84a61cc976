import { Socket } from "node:net";

/**
 * A connection that is still read when a write to it fails. An endpoint that answers in the middle of a
 * request and closes (413, say) resets what we are still sending; Node then throws away what it has said
 * before. Here the write error waits in `errored`, nothing more is sent, and reading ends by itself.
 */
export class AnswerFirstSocket extends Socket {
  override destroy(error?: Error): this {
    const failedWrite = (error as NodeJS.ErrnoException | undefined)?.syscall === "write";
    return failedWrite && !this.readableEnded ? this : super.destroy(error);
  }
}
