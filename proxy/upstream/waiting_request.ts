import type { Linked } from "#kernel/linked_list.ts";
import { WheelItem } from "#kernel/timer_wheel.ts";
import type { Endpoint } from "#model/snapshot.ts";
import type {
  AnswerSink,
  Fields,
  RequestHead,
  Stage,
  UpstreamStream,
} from "#proxy/exchange/exchange.ts";
import type { Failure } from "#proxy/exchange/failure.ts";

/** Who keeps waiting requests: they leave by one of these, or by `begin`. */
export interface WaitingRoom {
  /** What its requests wait for: a connection that is being opened, or one that others have. */
  readonly waitingStage: "connects" | "waits";
  onWaitedInVain(request: WaitingRequest): void;
  onWaitCancelled(request: WaitingRequest): void;
}

/**
 * A request that waits for a connection, and then its door to its stream there. What comes of its body
 * meanwhile is kept, and the source is told to pause at once: one read of it is all that there is.
 */
export class WaitingRequest extends WheelItem implements UpstreamStream, Linked<WaitingRequest> {
  listPrev: WaitingRequest | undefined = undefined;
  listNext: WaitingRequest | undefined = undefined;
  isListed = false;
  readonly endpoint: Endpoint;
  readonly head: RequestHead;
  readonly sink: AnswerSink;
  /** Where it waits; written by who keeps it. */
  room: WaitingRoom;
  /** Undefined: it waits still. */
  #stream: UpstreamStream | undefined = undefined;
  /** Undefined: nothing of its body has come. */
  #chunks: Buffer[] | undefined = undefined;
  #ended = false;
  #trailers: Fields | undefined = undefined;

  constructor(room: WaitingRoom, endpoint: Endpoint, head: RequestHead, sink: AnswerSink) {
    super();
    this.room = room;
    this.endpoint = endpoint;
    this.head = head;
    this.sink = sink;
  }

  /** Its turn has come: a connection has been given its head. */
  begin(stream: UpstreamStream): void {
    this.#stream = stream;
    const chunks = this.#chunks;
    this.#chunks = undefined;
    let wantsMore = true;
    if (chunks !== undefined) for (const chunk of chunks) wantsMore = stream.sendBody(chunk);
    if (this.#ended) stream.sendEnd(this.#trailers);
    // Otherwise the stream says so itself once it has got rid of these.
    else if (chunks !== undefined && wantsMore) this.sink.onRequestDrain();
  }

  fail(reason: Failure): void {
    this.#chunks = undefined;
    this.sink.onFailure(reason);
  }

  // ── UpstreamStream ──

  get stage(): Stage {
    return this.#stream === undefined ? this.room.waitingStage : this.#stream.stage;
  }

  sendBody(chunk: Buffer): boolean {
    if (this.#stream !== undefined) return this.#stream.sendBody(chunk);
    // A copy: codecs recycle the buffers that they hand out.
    this.#chunks ??= [];
    this.#chunks.push(Buffer.from(chunk));
    return false;
  }

  sendEnd(trailers: Fields | undefined): void {
    if (this.#stream !== undefined) {
      this.#stream.sendEnd(trailers);
      return;
    }
    this.#ended = true;
    this.#trailers = trailers;
  }

  resume(): void {
    this.#stream?.resume();
  }

  cancel(): void {
    if (this.#stream !== undefined) this.#stream.cancel();
    else this.room.onWaitCancelled(this);
  }

  override onTimeout(): void {
    this.room.onWaitedInVain(this);
  }
}
