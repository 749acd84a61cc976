import { LinkedList } from "#kernel/linked_list.ts";
import type { TimerWheel } from "#kernel/timer_wheel.ts";
import type { Endpoint } from "#model/snapshot.ts";
import type { AnswerSink, RequestHead } from "#proxy/exchange/exchange.ts";
import { type Failure, failure } from "#proxy/exchange/failure.ts";
import type { ConnectionPolicy } from "#proxy/upstream/connection_policy.ts";
import type { PoolOptions } from "#proxy/upstream/pool.ts";
import type { UpstreamCounters } from "#proxy/upstream/upstream_counters.ts";
import { WaitingRequest, type WaitingRoom } from "#proxy/upstream/waiting_request.ts";

/** The requests that wait for a connection to one endpoint: so many at most, each for so long at most. */
export class WaitingLine implements WaitingRoom {
  /** How many may wait, and for how long. */
  policy: ConnectionPolicy;
  readonly waitingStage: WaitingRoom["waitingStage"];
  readonly #onLeft: () => void;
  readonly #wheel: TimerWheel;
  readonly #counters: UpstreamCounters;
  readonly #requests = new LinkedList<WaitingRequest>();

  /**
   * @param stage what those in it wait for.
   * @param onLeft called when somebody has gone without having been served.
   */
  constructor(
    { wheel, counters }: Pick<PoolOptions, "wheel" | "counters">,
    policy: ConnectionPolicy,
    stage: WaitingRoom["waitingStage"] = "waits",
    onLeft: () => void = () => {},
  ) {
    this.#wheel = wheel;
    this.#counters = counters;
    this.policy = policy;
    this.waitingStage = stage;
    this.#onLeft = onLeft;
  }

  get size(): number {
    return this.#requests.size;
  }

  /** Undefined: too many wait already. */
  join(endpoint: Endpoint, head: RequestHead, sink: AnswerSink): WaitingRequest | undefined {
    const { pendingMax, pendingTimeoutMs } = this.policy;
    if (this.#requests.size >= pendingMax) {
      this.#counters.overflowed++;
      return undefined;
    }
    this.#counters.waited++;
    const request = new WaitingRequest(this, endpoint, head, sink);
    this.#requests.push(request);
    this.#wheel.arm(request, pendingTimeoutMs);
    return request;
  }

  /** Those in `other` wait here from now on, behind all others. Nobody is counted again or gets more time. */
  take(other: WaitingLine): void {
    for (let next = other.#requests.shift(); next !== undefined; next = other.#requests.shift()) {
      next.room = this;
      this.#requests.push(next);
    }
  }

  /** The one that has waited longest; undefined: nobody waits. */
  get first(): WaitingRequest | undefined {
    return this.#requests.first;
  }

  /** Takes out the one that has waited longest. */
  next(): WaitingRequest | undefined {
    const request = this.#requests.shift();
    if (request !== undefined) this.#wheel.disarm(request);
    return request;
  }

  /** Nobody waits any more; who did is told why with `failAll`. */
  clear(): readonly WaitingRequest[] {
    const waiting: WaitingRequest[] = [];
    for (let next = this.next(); next !== undefined; next = this.next()) waiting.push(next);
    return waiting;
  }

  onWaitedInVain(request: WaitingRequest): void {
    const { pendingTimeoutMs } = this.policy;
    this.#requests.remove(request);
    this.#counters.timedOut++;
    this.#onLeft();
    request.fail(failure("overloaded", `no free connection within ${pendingTimeoutMs} ms`));
  }

  onWaitCancelled(request: WaitingRequest): void {
    this.#requests.remove(request);
    this.#wheel.disarm(request);
    this.#onLeft();
  }
}

/** Tells all of them that their turn does not come. */
export function failAll(requests: readonly WaitingRequest[], reason: Failure): void {
  for (const request of requests) request.fail(reason);
}
