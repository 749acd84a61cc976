import type { Millis } from "#kernel/brand.ts";
import type { LoadReport } from "#proxy/balance/load_report.ts";

/** Weights of reports are used after that long (gRFC A58: blackout period): the first ones are of a cold process. */
const BLACKOUT_MS: Millis = 10_000;
/** After that long a report says nothing any more (A58: weight expiration period). */
const EXPIRY_MS: Millis = 180_000;
/** What errors count beside load (A58: error utilization penalty). */
const ERROR_PENALTY = 1;
/** No endpoint bears less or more requests per second: who says so says nothing. */
const WEIGHT_MIN = 1e-6;
const WEIGHT_MAX = 1e15;
/** Below that, how many requests would fill an endpoint is a guess. */
const TELLING_UTILIZATION = 0.5;
/** An endpoint is not believed to bear more than that many times what it has borne. */
const BORNE_FACTOR = 2;
const GAIN_DOWN = 1 / 2;
const GAIN_UP = 1 / 16;

/** What one endpoint's load reports (ORCA) come to. */
export class ReportedLoad {
  /** Part of its weight that reports give it; `ShareReview` moves it. */
  share = 1;
  #weight: number | undefined = undefined;
  /** Of the first and the last report that gave a weight. */
  #since: Millis = 0;
  #at: Millis = Number.NEGATIVE_INFINITY;
  #capacity: number | undefined = undefined;
  #capacityAt: Millis = 0;
  #staleMs: Millis | undefined = undefined;
  #staleAt: Millis = 0;

  /**
   * One more.
   * @param inflight requests of ours that run there now.
   * @param borne the most that ever ran there as one went well.
   */
  take(report: LoadReport, inflight: number, borne: number, now: Millis): void {
    const { utilization, rps, eps, stalenessMs } = report;
    if (stalenessMs !== undefined) this.takeStaleness(stalenessMs, now);
    if (utilization <= 0) return;
    if (utilization >= TELLING_UTILIZATION) {
      this.#takeCapacity(Math.min(inflight / utilization, BORNE_FACTOR * borne), now);
    }
    if (rps <= 0) return;
    const weight = rps / (utilization + (eps / rps) * ERROR_PENALTY);
    // Numbers at the end of what there is would make shares of nobody: 0 / 0.
    if (!(weight >= WEIGHT_MIN && weight <= WEIGHT_MAX)) return;
    if (now - this.#at > EXPIRY_MS) this.#since = now;
    this.#at = now;
    this.#weight = weight;
  }

  /** A replica has said how old its data is at most. */
  takeStaleness(ms: Millis, now: Millis): void {
    this.#staleMs = ms;
    this.#staleAt = now;
  }

  /** Requests per second that it would bear at full load, errors taken off; undefined: not known well enough. */
  weight(now: Millis): number | undefined {
    const isKnown = now - this.#since >= BLACKOUT_MS && now - this.#at <= EXPIRY_MS;
    return isKnown ? this.#weight : undefined;
  }

  /** Requests of ours that it would bear at once; undefined: it has not said, or not for long. */
  capacity(now: Millis): number | undefined {
    return now - this.#capacityAt <= EXPIRY_MS ? this.#capacity : undefined;
  }

  /** How old a replica's data is at most: what it said, and the time since. Undefined: it has not said. */
  stalenessMs(now: Millis): Millis | undefined {
    return this.#staleMs === undefined ? undefined : this.#staleMs + (now - this.#staleAt);
  }

  #takeCapacity(sample: number, now: Millis): void {
    const before = this.capacity(now) ?? sample;
    const gain = sample < before ? GAIN_DOWN : GAIN_UP;
    this.#capacity = before + gain * (sample - before);
    this.#capacityAt = now;
  }
}
