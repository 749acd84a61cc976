import type { Millis } from "#kernel/brand.ts";
import type { Job } from "#test/sim/scale/station.ts";

/** One request of a client, until it is answered or its time is over. */
export class ClientRequest {
  readonly at: number;
  readonly sentAt: Millis;
  readonly deadlineAt: Millis;
  /** In mean service times: the same whatever rule is in force. */
  readonly work: number;
  isOver = false;
  /** Some byte of it has crossed a link that is paid for. */
  paid = false;
  /** Gateways where it has been. */
  readonly hops: Hop[] = [];

  constructor(at: number, sentAt: Millis, deadlineMs: Millis, work: number) {
    this.at = at;
    this.sentAt = sentAt;
    this.deadlineAt = sentAt + deadlineMs;
    this.work = work;
  }
}

/** How a try ended, as the gateway that tried sees it. */
export type Answer =
  | "ok"
  /** A 500: passed on as it is. */
  | "error"
  /** A 503: worth another try. */
  | "unavailable"
  /** Passed on to nobody: worth another try with any method. */
  | "refused";

/** A request at one gateway. */
export class Hop {
  readonly request: ClientRequest;
  /** The cluster whose gateway this is. */
  readonly at: number;
  /** Clusters that it has passed before. */
  readonly visited: readonly number[];
  /** The gateway that waits for the answer, and which of its tries this is; undefined: the client waits. */
  readonly caller: { readonly hop: Hop; readonly attempt: number } | undefined;
  readonly tried: unknown[] = [];
  retriesLeft: number;
  /** Of the running try; undefined: none runs. */
  handle: unknown = undefined;
  /** The cluster that it went to. */
  target = -1;
  attempt = 0;
  tryStartedAt: Millis = 0;
  /** Somebody may have acted on it. */
  touched = false;

  constructor(
    request: ClientRequest,
    at: number,
    about: {
      readonly visited: readonly number[];
      readonly caller: Hop["caller"];
      readonly retries: number;
    },
  ) {
    this.request = request;
    this.at = at;
    this.visited = about.visited;
    this.caller = about.caller;
    this.retriesLeft = about.retries;
    request.hops.push(this);
  }
}

/** The work of one try at an endpoint. */
export class EndpointJob implements Job {
  readonly work: number;
  readonly #hop: Hop;
  readonly #attempt: number;
  readonly #served: () => void;

  constructor(hop: Hop, served: () => void) {
    this.#hop = hop;
    this.#attempt = hop.attempt;
    this.work = hop.request.work;
    this.#served = served;
  }

  isOver(): boolean {
    return this.#hop.request.isOver || this.#hop.attempt !== this.#attempt;
  }

  served(): void {
    this.#served();
  }
}
