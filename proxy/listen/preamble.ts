import type { Socket } from "node:net";
import type { Millis } from "#kernel/brand.ts";
import { type TimerWheel, WheelItem } from "#kernel/timer_wheel.ts";
import { FIRST_REQUEST_MS } from "#proxy/exchange/limits.ts";
import type { ClientConnection, ClientSet } from "#proxy/listen/client_set.ts";
import type { ListenerCounters } from "#proxy/listen/listener_counters.ts";

const EMPTY: Buffer = Buffer.alloc(0);

/** What first bytes can be told to be. */
type Reading = { readonly kind: string };
type Found<T extends Reading> = Exclude<T, { kind: "more" } | { kind: "bad" }>;

/** How the first bytes of a connection are read, and what becomes of it. */
export interface PreambleOptions<T extends Reading> {
  /** Says what `bytes` begin with: `more` if they are too few, `bad` if it is nothing that may be there. */
  readonly read: (bytes: Buffer) => T;
  /** The socket is paused. @param bytes all that was read so far. */
  readonly found: (found: Found<T>, bytes: Buffer) => void;
  readonly clients: ClientSet;
  readonly counters: ListenerCounters;
  readonly wheel: TimerWheel;
  /** Who has not said it by then is closed. */
  readonly timeoutMs: Millis;
}

/**
 * The first bytes of a connection, read by somebody else than the one who will have it.
 * @param first what has been read of it already.
 */
export function readFirst<T extends Reading>(
  socket: Socket,
  first: Buffer,
  options: PreambleOptions<T>,
): void {
  new Preamble(socket, options).start(first);
}

class Preamble<T extends Reading> extends WheelItem implements ClientConnection {
  readonly #socket: Socket;
  readonly #options: PreambleOptions<T>;
  #bytes: Buffer = EMPTY;
  #over = false;
  readonly #onData = (chunk: Buffer): void => this.#take(chunk);
  readonly #onClose = (): void => this.#gone();
  readonly #onEnd = (): void => void this.#socket.destroy();
  readonly #onError = (): void => {};

  constructor(socket: Socket, options: PreambleOptions<T>) {
    super();
    this.#socket = socket;
    this.#options = options;
    socket.on("data", this.#onData);
    socket.on("end", this.#onEnd);
    socket.on("close", this.#onClose);
    socket.on("error", this.#onError);
    options.wheel.arm(this, options.timeoutMs);
    options.clients.hold(this);
  }

  start(first: Buffer): void {
    if (first.length > 0) this.#take(first);
    if (!this.#over) this.#socket.resume();
  }

  /** It is nothing yet. */
  info(): undefined {
    return undefined;
  }

  /** Whoever wants to say something has to say it soon. */
  drain(): void {
    const { wheel, timeoutMs } = this.#options;
    wheel.arm(this, Math.min(FIRST_REQUEST_MS, timeoutMs));
  }

  destroy(): void {
    this.#socket.destroy();
  }

  override onTimeout(): void {
    this.#refuse();
  }

  #take(chunk: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    const found = this.#options.read(this.#bytes);
    if (found.kind === "more") return;
    if (found.kind === "bad") {
      this.#refuse();
      return;
    }
    this.#leave();
    this.#socket.pause();
    this.#options.found(found as Found<T>, this.#bytes);
    // Last: a drain that waits for this one has to wait for what it has become.
    this.#options.clients.release(this);
  }

  #refuse(): void {
    this.#options.counters.preambleRefused++;
    this.#gone();
    // Its late errors are nobody's any more.
    this.#socket.on("error", this.#onError);
    this.#socket.destroy();
  }

  #gone(): void {
    this.#leave();
    this.#options.clients.release(this);
  }

  #leave(): void {
    this.#over = true;
    this.#socket.off("data", this.#onData);
    this.#socket.off("end", this.#onEnd);
    this.#socket.off("close", this.#onClose);
    this.#socket.off("error", this.#onError);
    this.#options.wheel.disarm(this);
  }
}
