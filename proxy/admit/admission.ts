import type { Millis } from "#kernel/brand.ts";
import type { Priority, TrafficPolicy } from "#model/traffic_policy.ts";
import { ClassRoom } from "#proxy/admit/class_room.ts";
import { RateBucket } from "#proxy/admit/rate_limit.ts";
import type { Hop } from "#proxy/authorize/hop.ts";
import { hashOf } from "#proxy/balance/request_hash.ts";
import type { Exchange } from "#proxy/exchange/exchange.ts";
import { type Failure, type FailureName, failure } from "#proxy/exchange/failure.ts";

/** What is known of a request that asks to be let in. */
export interface Ask {
  readonly priority: Priority;
  readonly hop: Hop;
}

/** What of a policy is followed here. */
export type AdmissionRules = Pick<TrafficPolicy, "limits" | "rateLimits">;

/** Time over which refused requests are averaged. */
const AVERAGED_MS: Millis = 1_000;
const NO_BUCKETS: readonly RateBucket[] = [];
const ROOM_WAIT_MS: Millis = 1_000;

/**
 * Whether a request of one service is taken at all in this worker: its rate limits and its bulkheads. Both hold
 * for the cluster, so each worker has its part of them, and at least one request at once. Outlives snapshots.
 */
export class Admission {
  /** Rate limits, as the policy has them in order. */
  buckets: readonly RateBucket[] = NO_BUCKETS;
  /** Requests admitted that have not ended. */
  inflight = 0;
  readonly #room = new ClassRoom();
  readonly #refused = new Map<FailureName, Record<Priority, number>>();
  /** Requests turned away that had entered the mesh here, since `#foldedAt`, and their average per ms before. */
  #turnedAway = 0;
  #turnedAwayRate = 0;
  #foldedAt: Millis = 0;
  #requestsMax = Number.POSITIVE_INFINITY;
  #perCallerMax = Number.POSITIVE_INFINITY;
  /** Callers by a hash, while they are counted and have requests here. */
  readonly #byCaller = new Map<number, number>();

  /** Follows other rules from now on; what runs and what is used up stays. */
  follow(rules: AdmissionRules | undefined, workers: number, now: Millis): void {
    const { requests, requestsPerCaller } = rules?.limits ?? {};
    this.#requestsMax = partOf(requests, workers);
    this.#perCallerMax = partOf(requestsPerCaller, workers);
    const known = new Map(this.buckets.map((bucket) => [bucket.rules.name, bucket]));
    this.buckets = (rules?.rateLimits ?? []).map((limit) => {
      const bucket = known.get(limit.name);
      bucket?.follow(limit, workers, now);
      return bucket ?? new RateBucket(limit, workers, now);
    });
  }

  /** Undefined: the request is admitted, and `release` has to be called at its end. Otherwise why it is not. */
  admit(ask: Ask, exchange: Exchange, now: Millis): Failure | undefined {
    const refusal = this.#refusal(ask, exchange, now);
    if (refusal !== undefined) {
      this.refuse(refusal.kind, ask.priority);
      if (ask.hop.path.length === 0) this.#turnedAway++;
      return refusal;
    }
    this.inflight++;
    if (this.#requestsMax !== Number.POSITIVE_INFINITY) this.#room.took(ask.priority, now);
    if (this.#perCallerMax !== Number.POSITIVE_INFINITY) this.#count(callerOf(ask, exchange), 1);
    return undefined;
  }

  /** An admitted request has ended. */
  release(ask: Ask, exchange: Exchange): void {
    this.inflight--;
    if (this.#byCaller.size > 0) this.#count(callerOf(ask, exchange), -1);
  }

  /** One was refused, here or by who found no place for it. */
  refuse(kind: FailureName, priority: Priority): void {
    let counts = this.#refused.get(kind);
    if (counts === undefined) {
      counts = { critical: 0, default: 0, sheddable: 0 };
      this.#refused.set(kind, counts);
    }
    counts[priority]++;
  }

  /**
   * Requests per second that entered the mesh here and were not admitted, as it was lately. They never reach the
   * balancer, but whoever divides a limit has to know of them: a cluster that tells only what its lease lets pass would
   * never get more.
   */
  turnedAwayPerSecond(now: Millis): number {
    const elapsed = now - this.#foldedAt;
    if (elapsed > 0) {
      const gained = -Math.expm1(-elapsed / AVERAGED_MS);
      this.#turnedAwayRate += (this.#turnedAway / elapsed - this.#turnedAwayRate) * gained;
      this.#turnedAway = 0;
      this.#foldedAt = now;
    }
    return this.#turnedAwayRate * 1_000;
  }

  /** Requests refused so far, by reason and class. */
  get refused(): ReadonlyMap<FailureName, Readonly<Record<Priority, number>>> {
    return this.#refused;
  }

  #refusal(ask: Ask, exchange: Exchange, now: Millis): Failure | undefined {
    const { buckets } = this;
    // Who has come by another cluster of the mesh was counted there.
    const isCounted = buckets.length > 0 && ask.hop.path.length === 0;
    if (isCounted) {
      const refusal = this.#overLimit(ask, exchange, now);
      if (refusal !== undefined) return refusal;
    }
    if (!this.#room.hasRoom(this.inflight, this.#requestsMax, ask.priority, now)) {
      // A critical one that finds no room is demand as well.
      if (ask.priority === "critical") this.#room.took(ask.priority, now);
      return shed(`${this.inflight} requests run`);
    }
    if (this.#perCallerMax !== Number.POSITIVE_INFINITY) {
      const running = this.#byCaller.get(callerOf(ask, exchange)) ?? 0;
      if (running >= this.#perCallerMax) return shed(`${running} requests of its caller run`);
    }
    if (isCounted) {
      for (const bucket of buckets) bucket.take(keyIn(bucket, ask, exchange));
    }
    return undefined;
  }

  /** None of the limits is used up by a request that another one refuses. */
  #overLimit(ask: Ask, exchange: Exchange, now: Millis): Failure | undefined {
    for (const bucket of this.buckets) {
      const waitMs = bucket.waitOf(keyIn(bucket, ask, exchange), now);
      if (waitMs === 0) continue;
      bucket.refused++;
      return {
        ...failure("rate_limited", bucket.rules.name),
        retryAfterMs: waitMs,
        limit: bucket.rules,
      };
    }
    return undefined;
  }

  #count(caller: number, change: 1 | -1): void {
    const running = (this.#byCaller.get(caller) ?? 0) + change;
    // Below none: it began before callers were counted.
    if (running <= 0) this.#byCaller.delete(caller);
    else this.#byCaller.set(caller, running);
  }
}

function shed(detail: string): Failure {
  return { ...failure("shed", detail), retryAfterMs: ROOM_WAIT_MS };
}

function partOf(all: number | undefined, workers: number): number {
  return all === undefined ? Number.POSITIVE_INFINITY : Math.max(1, Math.floor(all / workers));
}

/** Clients without what the limit asks for are one client. */
const NOBODY = 0;

function keyIn({ rules }: RateBucket, { hop }: Ask, { head, peer }: Exchange): number | undefined {
  if (rules.by === undefined) return undefined;
  return hashOf(rules.by, { head, peer, caller: hop.caller }) ?? NOBODY;
}

function callerOf({ hop }: Ask, { head, peer }: Exchange): number {
  return hashOf({ type: "Caller" }, { head, peer, caller: hop.caller }) ?? NOBODY;
}
