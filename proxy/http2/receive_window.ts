import type { Millis } from "#kernel/brand.ts";

/** What every stream may send before we have said anything (RFC 9113 §6.9.2); so may a connection. */
export const WINDOW_DEFAULT = 65_535;
/** Most that one stream may have on its way to us: what TCP's own buffers let through. */
export const STREAM_WINDOW_MAX = 6_291_456;
/** A connection's window beside that of a stream. */
const CONNECTION_FACTOR = 4;
/** Without data on its way there is no bandwidth to measure, and pings cost something. */
const SAMPLE_EVERY_MS: Millis = 10;
/** All windows of a process together may have grown by this many bytes. */
const GROWN_BYTES_MAX = 268_435_456;

let grown = 0;

/**
 * How much a peer may send us, on a connection and on each of its streams: twice what it has been seen to send
 * within one round trip, which is measured by pings while data flows. A window that is too small for the way
 * wastes it; one that is too large is memory that a stalled reader fills.
 */
export class ReceiveWindow {
  /** What a stream whose reader keeps up may send ahead, bytes. */
  stream = WINDOW_DEFAULT;
  /** The same for all streams together. */
  connection = WINDOW_DEFAULT * CONNECTION_FACTOR;
  /** A ping for this is on its way. */
  sampling = false;
  #sampled = 0;
  #startedAt: Millis = Number.NEGATIVE_INFINITY;

  /** Data has come. */
  received(bytes: number): void {
    if (this.sampling) this.#sampled += bytes;
  }

  /** True: the caller is to send a ping now. */
  startSample(now: Millis): boolean {
    if (this.sampling || this.stream >= STREAM_WINDOW_MAX) return false;
    if (now - this.#startedAt < SAMPLE_EVERY_MS) return false;
    this.sampling = true;
    this.#sampled = 0;
    this.#startedAt = now;
    return true;
  }

  /** The ping is answered: what came meanwhile came within one round trip. */
  endSample(): void {
    this.sampling = false;
    // Less than that, and it was not the window that held it back.
    if (this.#sampled * 3 < this.stream * 2) return;
    // Who fills it may be held back by it, and has then sent no more than a part: twice that would stay where it is.
    const stream = Math.min(STREAM_WINDOW_MAX, Math.max(this.#sampled, this.stream) * 2);
    const more = (stream - this.stream) * CONNECTION_FACTOR;
    if (more <= 0 || grown + more > GROWN_BYTES_MAX) return;
    grown += more;
    this.stream = stream;
    this.connection = stream * CONNECTION_FACTOR;
  }

  /** The connection has ended. */
  close(): void {
    grown -= (this.stream - WINDOW_DEFAULT) * CONNECTION_FACTOR;
    this.stream = WINDOW_DEFAULT;
    this.connection = WINDOW_DEFAULT * CONNECTION_FACTOR;
  }
}
