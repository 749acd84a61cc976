import type { AnswerSink, UpstreamStream } from "#proxy/exchange/exchange.ts";
import type { Failure } from "#proxy/exchange/failure.ts";

/** A request that found no connection: it fails once `open` has returned. */
export class RefusedStream implements UpstreamStream {
  readonly stage = "waits";
  #cancelled = false;

  constructor(reason: Failure, sink: AnswerSink) {
    process.nextTick(() => {
      if (!this.#cancelled) sink.onFailure(reason);
    });
  }

  sendBody(): boolean {
    return true;
  }

  sendEnd(): void {}

  resume(): void {}

  cancel(): void {
    this.#cancelled = true;
  }
}
