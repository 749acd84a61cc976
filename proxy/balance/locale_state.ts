import type { Millis } from "#kernel/brand.ts";
import type { ClusterName } from "#model/names.ts";
import type { Locale } from "#model/snapshot.ts";
import { type EndpointPicker, makePicker } from "#proxy/balance/endpoint_picker.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import { OutlierDetector } from "#proxy/health/outlier_detector.ts";

/** Time constant of a locale's demand. */
const DEMAND_DECAY_MS: Millis = 500;

/** One locale of one service, with its endpoints. */
export class LocaleState {
  readonly locale: Locale;
  readonly endpoints: EndpointState[] = [];
  /** Chooses among `endpoints`. */
  picker: EndpointPicker = makePicker(undefined, this.endpoints, {});
  /** Ejects from `endpoints`. */
  outliers = new OutlierDetector(undefined, this.endpoints);
  /** Round trip of the link to it, ms; undefined before the first probe. */
  rttMs: Millis | undefined = undefined;
  /** False: the link's probes are not answered. */
  linkUp = true;
  /** Share of new requests, 0 to 1, as the waterfall gave it. */
  weight = 0;
  /** Requests running there now, of the endpoints that it has. */
  inflight = 0;
  /** Nobody else can help, and so few of its endpoints are well that the verdicts are doubted. */
  panics = false;
  /** Requests sent there so far. */
  requests = 0;
  #demand = 0;
  #demandAt: Millis = 0;

  constructor(locale: Locale) {
    this.locale = locale;
  }

  /** A request begins there (1) or ends (-1). */
  count(change: 1 | -1, now: Millis): void {
    this.#demand = this.demand(now);
    this.#demandAt = now;
    this.inflight += change;
  }

  /** Requests running there, as it was lately: what the waterfall has to place. */
  demand(now: Millis): number {
    const kept = Math.exp(-Math.max(0, now - this.#demandAt) / DEMAND_DECAY_MS);
    return this.inflight + (this.#demand - this.inflight) * kept;
  }

  /** Takes over what `before` knew of it. */
  carryDemand(before: LocaleState, now: Millis): void {
    this.#demand = before.demand(now);
    this.#demandAt = now;
  }

  get kind(): Locale["kind"] {
    return this.locale.kind;
  }

  get cluster(): ClusterName {
    return this.locale.cluster;
  }

  /** Expected response time before any traffic. */
  seedMs(): Millis {
    const rtt = this.rttMs ?? (this.kind === "local" ? 0 : UNPROBED_RTT_MS);
    // At least a little, so that an idle local endpoint still has a load to compare.
    return Math.max(0.5, rtt + (this.locale.p50Ms ?? 0));
  }
}

/** Taken for a link that no probe has measured yet: farther than the next rack, nearer than the sea. */
const UNPROBED_RTT_MS = 20;

/** Identity of a locale across snapshots. */
export function localeKey(locale: Locale): string {
  return `${locale.kind} ${locale.cluster}`;
}
