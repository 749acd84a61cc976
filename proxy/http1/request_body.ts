import type { BodyLength, BodySink } from "#proxy/exchange/exchange.ts";
import type { ConnectionLimits } from "#proxy/exchange/limits.ts";
import { BodyDecoder } from "#proxy/http1/parser_body.ts";

/**
 * Where reading a body came to. `end`: all of it has been read. `more`: it goes on in bytes that have not come.
 * `bad`: it is none. `held`: its taker wants no more for now. `dropped`: nobody wants any more of it.
 */
export type BodyProgress = "end" | "more" | "bad" | "held" | "dropped";

/** The body of the request that a connection carries, on its way to whoever takes it. */
export class RequestBody {
  readonly #decoder: BodyDecoder;
  #sink: BodySink | undefined = undefined;
  #held = false;

  constructor(limits: ConnectionLimits) {
    this.#decoder = new BodyDecoder(limits);
  }

  /** Somebody takes it. */
  get isTaken(): boolean {
    return this.#sink !== undefined;
  }

  /** Who takes it is slow: nothing is to be read before `resume`. */
  get isHeld(): boolean {
    return this.#held;
  }

  /** After `read`: how much of the buffer has been consumed. */
  get at(): number {
    return this.#decoder.at;
  }

  begin(length: BodyLength): void {
    this.#sink = undefined;
    this.#decoder.begin(length);
  }

  takeBy(sink: BodySink): void {
    this.#sink = sink;
  }

  /** False: it was not held. */
  resume(): boolean {
    const wasHeld = this.#held;
    this.#held = false;
    return wasHeld;
  }

  /** Nobody hears anything more of it. */
  drop(): void {
    this.#sink = undefined;
  }

  /** Decodes `buffer` and passes on what it finds; somebody takes it, and is not slow. */
  read(buffer: Buffer): BodyProgress {
    const decoder = this.#decoder;
    decoder.at = 0;
    for (;;) {
      const step = decoder.step(buffer);
      if (step !== "data") return step;
      const wantsMore = this.#sink!.onBody(decoder.data);
      // The sink may have ended the exchange within the call.
      if (this.#sink === undefined) return "dropped";
      if (wantsMore) continue;
      this.#held = true;
      return "held";
    }
  }

  /** Tells who took it that it has ended. */
  end(): void {
    const sink = this.#sink!;
    this.#sink = undefined;
    sink.onBodyEnd(this.#decoder.trailers);
  }
}
