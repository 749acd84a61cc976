import type { Millis } from "#kernel/brand.ts";
import type { ClusterName } from "#model/names.ts";
import type { Locale } from "#model/snapshot.ts";
import { AdaptiveLimit } from "#proxy/admit/adaptive_limit.ts";
import { type EndpointPicker, makePicker } from "#proxy/balance/endpoint_picker.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import { Stall } from "#proxy/balance/stall.ts";
import { OutlierDetector } from "#proxy/health/outlier_detector.ts";

/** Time constant of a locale's demand. */
const DEMAND_DECAY_MS: Millis = 500;
/** So long it counts that its gateway has said to have nobody. */
const NOBODY_MS: Millis = 2_000;
/** After this long without a try nothing of what was learnt is left: 15 time constants of a peak-EWMA. */
const QUIET_MS: Millis = 150_000;

/**
 * Locales of one service with which something has happened lately. Of thousands it is a handful: the others need not
 * be measured again. Goes from snapshot to snapshot, for tries that began under an earlier one end later.
 */
export class Attention {
  readonly locales: LocaleState[] = [];
  /** The weights must not wait for the next period. */
  urgent = false;
}

/** One locale of one service, with its endpoints. */
export class LocaleState {
  readonly locale: Locale;
  /** Its place among the locales of its service. */
  readonly index: number;
  readonly endpoints: EndpointState[] = [];
  /** Chooses among `endpoints`. */
  picker: EndpointPicker = makePicker(undefined, this.endpoints, {});
  /** Ejects from `endpoints`. */
  outliers = new OutlierDetector(undefined, this.endpoints);
  /** How many requests at once it has shown to bear from this worker. */
  limit = new AdaptiveLimit();
  /** Each of its endpoints has a limit of its own as well. */
  limitsEndpoints = false;
  /** Round trip of the link to it, ms; undefined before the first probe. */
  rttMs: Millis | undefined = undefined;
  /** False: the link's probes are not answered. */
  linkUp = true;
  /** Share of new requests, 0 to 1, as the waterfall gave it. */
  weight = 0;
  /** Requests running there now, of the endpoints that it has. */
  inflight = 0;
  /** Of them, those that an endpoint has whole and has not answered yet. */
  waiting = 0;
  /** Concurrent requests of this worker that it is declared, granted or reported to bear, as of the last look. */
  share = Number.POSITIVE_INFINITY;
  /** Nobody else can help, and so few of its endpoints are well that the verdicts are doubted. */
  panics = false;
  /** Usual response time of its endpoints, ms, as of the last look. Of endpoints that nobody knows yet, too. */
  usualMs: Millis = 0;
  /** Whether anything comes back from there. */
  stall = new Stall();
  /** How old its own endpoints say that their data is, the oldest of them, ms; undefined: none says it. */
  reportedStalenessMs: Millis | undefined = undefined;
  /** Requests sent there so far. */
  requests = 0;
  /** Until then its gateway's word counts that it has nobody. */
  #nobodyUntil: Millis = 0;
  readonly #attention: Attention;
  /** When it was last touched and not found quiet since; undefined: it is quiet. */
  #touchedAt: Millis | undefined = undefined;
  #demand = 0;
  #demandAt: Millis = 0;

  constructor(locale: Locale, index: number, attention: Attention) {
    this.locale = locale;
    this.index = index;
    this.#attention = attention;
  }

  /** A request begins there (1) or ends (-1). */
  count(change: 1 | -1, now: Millis): void {
    this.#demand = this.demand(now);
    this.#demandAt = now;
    this.inflight += change;
    this.touch(now);
  }

  /** Something has happened that its cost, or who is well there, may follow. */
  touch(now: Millis): void {
    if (this.#touchedAt === undefined) this.#attention.locales.push(this);
    this.#touchedAt = now;
  }

  /** A probe of its link has told a little: it is to be measured once, and then may rest as before. */
  glance(now: Millis): void {
    if (this.#touchedAt === undefined) this.touch(now - QUIET_MS);
  }

  /** Something has happened, and the next request is to know it. */
  alarm(now: Millis): void {
    this.touch(now);
    this.#attention.urgent = true;
  }

  /** True if nothing has happened for so long that it is as if nothing ever had; it then has no attention any more. */
  restIfQuiet(now: Millis): boolean {
    if (this.inflight > 0 || now - this.#touchedAt! < QUIET_MS) return false;
    if (this.endpoints.some((endpoint) => endpoint.isOut(now))) return false;
    this.#touchedAt = undefined;
    return true;
  }

  /** Its gateway has refused a request, for it has nobody for any: that is newer than its summary. */
  sayNobody(now: Millis): void {
    if (!this.saysNobody(now)) this.alarm(now);
    this.#nobodyUntil = now + NOBODY_MS;
  }

  /** It has served one. */
  sayServed(now: Millis): void {
    if (!this.saysNobody(now)) return;
    this.#nobodyUntil = 0;
    this.alarm(now);
  }

  /** Its gateway has said a moment ago that it has nobody. */
  saysNobody(now: Millis): boolean {
    return now < this.#nobodyUntil;
  }

  /** Endpoints that are healthy by the newest word of its owner. */
  healthy(now: Millis): number {
    return this.saysNobody(now) ? 0 : this.locale.healthy;
  }

  /** Requests running there, as it was lately: what the waterfall has to place. */
  demand(now: Millis): number {
    const { inflight } = this;
    if (this.#demand === inflight) return inflight;
    const kept = Math.exp(-Math.max(0, now - this.#demandAt) / DEMAND_DECAY_MS);
    return inflight + (this.#demand - inflight) * kept;
  }

  /** Takes over what `before` knew of it. Its endpoints come by themselves. */
  carryOver(before: LocaleState, now: Millis): void {
    this.rttMs = before.rttMs;
    this.linkUp = before.linkUp;
    this.requests = before.requests;
    this.limit = before.limit;
    this.stall = before.stall;
    this.usualMs = before.usualMs;
    this.#demand = before.demand(now);
    this.#demandAt = now;
    // A summary that says something else is newer.
    if (before.locale.healthy === this.locale.healthy) this.#nobodyUntil = before.#nobodyUntil;
    const touchedAt = before.#touchedAt;
    if (touchedAt !== undefined) this.touch(touchedAt);
  }

  /**
   * Requests that may run there by what it has shown to bear, which is how many wait for an answer: of clients that
   * read slowly, or have not sent all, no endpoint knows.
   */
  get shownToBear(): number {
    return this.limit.limit + this.inflight - this.waiting;
  }

  get kind(): Locale["kind"] {
    return this.locale.kind;
  }

  get cluster(): ClusterName {
    return this.locale.cluster;
  }

  /** How old the data of a replica there is at most, ms; undefined: it does not say. Who asks it knows best. */
  get stalenessMs(): Millis | undefined {
    return this.reportedStalenessMs ?? this.locale.stalenessMs;
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
