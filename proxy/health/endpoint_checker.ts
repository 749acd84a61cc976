import type { Millis } from "#kernel/brand.ts";
import type { Clock, Timer } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";
import type { Rng } from "#kernel/rng.ts";
import type { HealthCheck } from "#model/health_check.ts";
import type { ServiceName } from "#model/names.ts";
import { afterCheck, type CheckState, UNCHECKED } from "#proxy/health/active_check.ts";
import {
  CHECK_RESULTS,
  type CheckDoors,
  type CheckOutcome,
  CheckRequest,
  type CheckResult,
  type CheckTarget,
} from "#proxy/health/check_request.ts";
import { tlsId } from "#proxy/upstream/endpoint_tls.ts";
import { endpointKey } from "#proxy/upstream/upstreams.ts";

/** What checks say of one endpoint of a service. Plain data: it goes to other processes. */
export interface EndpointVerdict {
  readonly service: ServiceName;
  /** Its `endpointKey`. */
  readonly endpoint: string;
  readonly healthy: boolean;
  readonly reason: string;
  /** Of a replica that says it: how old its data is at most. Then each check is news. */
  readonly stalenessMs?: Millis | undefined;
}

export interface EndpointCheckerOptions extends CheckDoors {
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: Logger;
  /** Told of each verdict that is new, in itself or in its reason, wherever it comes from. */
  readonly onVerdict: (verdict: EndpointVerdict, isOwn: boolean) => void;
}

interface Watched {
  readonly key: string;
  target: CheckTarget;
  state: CheckState;
  reason: string;
  timer: Timer;
  running: CheckRequest | undefined;
}

/** New endpoints are checked as soon as that: a first verdict is not waited for longer than this … */
const FIRST_WITHIN_MS: Millis = 1_000;
/** … or than this for each of them, if they are many: a thousand connections per second are enough. */
const FIRST_SPREAD_MS: Millis = 1;
/** Share of an interval by which a check comes earlier or later: endpoints, and proxies, are not asked in step. */
const JITTER = 0.1;
/** A timer this late says more of us than of the endpoint. */
const STALL_MS: Millis = 100;

/**
 * Asks endpoints whether they are well, again and again, over the connections that requests use. One of a proxy's
 * processes does that while it is `active`; the others learn its verdicts, and go on from them if they have to.
 */
export class EndpointChecker {
  readonly #options: EndpointCheckerOptions;
  readonly #watched = new Map<string, Watched>();
  readonly #counts = new Map<ServiceName, Record<CheckResult, number>>();
  #active = false;

  constructor(options: EndpointCheckerOptions) {
    this.#options = options;
  }

  /** Watches exactly `targets` from now on. What is known of those that stay is kept. */
  watch(targets: Iterable<CheckTarget>): void {
    const wanted = new Map<string, CheckTarget>();
    for (const target of targets) {
      wanted.set(keyOf(target.service, endpointKey(target.endpoint)), target);
    }
    for (const [key, watched] of this.#watched) {
      if (wanted.has(key)) continue;
      this.#rest(watched);
      this.#watched.delete(key);
    }
    const begun: Watched[] = [];
    for (const [key, target] of wanted) {
      const known = this.#watched.get(key);
      if (known !== undefined && isSame(known.target, target)) {
        known.target = target;
        continue;
      }
      if (known !== undefined) this.#rest(known);
      const fresh = { key, target, state: UNCHECKED, reason: "", timer: NO_TIMER };
      const watched: Watched = { ...fresh, running: undefined };
      this.#watched.set(key, watched);
      begun.push(watched);
    }
    this.#keepCounts();
    if (this.#active) this.#begin(begun);
  }

  /** Whether this process sends checks. */
  setActive(active: boolean): void {
    if (active === this.#active) return;
    this.#active = active;
    if (active) this.#begin([...this.#watched.values()]);
    else for (const watched of this.#watched.values()) this.#rest(watched);
  }

  /** Another process has checked. What is said of endpoints that are not watched is not kept. */
  learn(verdicts: Iterable<EndpointVerdict>): void {
    for (const verdict of verdicts) {
      const watched = this.#watched.get(keyOf(verdict.service, verdict.endpoint));
      if (watched === undefined || this.#active) continue;
      watched.state = { healthy: verdict.healthy, against: 0 };
      watched.reason = verdict.reason;
      this.#options.onVerdict(verdict, false);
    }
  }

  /** Checks that have ended, by how they did; of services that are still there. */
  counts(): Iterable<readonly [ServiceName, Readonly<Record<CheckResult, number>>]> {
    return this.#counts;
  }

  close(): void {
    this.setActive(false);
  }

  #begin(all: readonly Watched[]): void {
    for (const watched of all) {
      const { intervalMs } = watched.target.check;
      const withinMs = Math.min(
        intervalMs,
        Math.max(FIRST_WITHIN_MS, all.length * FIRST_SPREAD_MS),
      );
      this.#schedule(watched, this.#options.rng.next() * withinMs);
    }
  }

  #schedule(watched: Watched, delayMs: Millis): void {
    watched.timer = this.#options.clock.after(delayMs, () => this.#check(watched));
  }

  /** No more of it, for now. */
  #rest(watched: Watched): void {
    watched.timer.cancel();
    watched.running?.cancel();
    watched.running = undefined;
  }

  #check(watched: Watched): void {
    const { clock, rng } = this.#options;
    const { timeoutMs, intervalMs } = watched.target.check;
    const startedAt = clock.now();
    let over = false;
    const end = (outcome: CheckOutcome): void => {
      over = true;
      this.#read(watched, outcome);
    };
    const request = new CheckRequest(watched.target, this.#options, end);
    watched.running = request;
    const giveUp = (): void => {
      request.cancel();
      watched.running = undefined;
      if (!over) end({ result: "timeout", reason: "timeout" });
      const jittered = intervalMs * (1 - JITTER + 2 * JITTER * rng.next());
      this.#schedule(watched, Math.max(0, startedAt + jittered - clock.now()));
    };
    watched.timer = clock.after(timeoutMs, () => {
      // If this process stood still, the answer may have come and only lie unread.
      const stoodStill = !over && clock.now() - startedAt > timeoutMs + STALL_MS;
      if (stoodStill) watched.timer = clock.after(STALL_MS, giveUp);
      else giveUp();
    });
  }

  #read(watched: Watched, { result, reason, stalenessMs }: CheckOutcome): void {
    const { service, endpoint, check } = watched.target;
    const counts = this.#counts.get(service);
    if (counts !== undefined) counts[result]++;
    if (result === "skipped") return;
    const before = watched.state;
    const ok = result === "ok";
    watched.state = afterCheck(before, ok, check);
    const { healthy } = watched.state;
    const isOld = healthy !== ok || (before.healthy === ok && watched.reason === reason);
    if (isOld && (stalenessMs === undefined || healthy === undefined)) return;
    if (!isOld) watched.reason = reason;
    const about = { service, endpoint: endpointKey(endpoint), reason: watched.reason };
    const verdict = { ...about, healthy: healthy ?? ok, stalenessMs };
    if (healthy !== before.healthy) this.#say(watched, before.healthy === undefined);
    this.#options.onVerdict(verdict, true);
  }

  /** @param isFirst nothing was known before: being well is no news then. */
  #say({ target, state, reason }: Watched, isFirst: boolean): void {
    const { log } = this.#options;
    const { address, port } = target.endpoint;
    const fields = { service: target.service, endpoint: `${address}:${port}`, reason };
    if (state.healthy === false) log.warn("endpoint is unhealthy", fields);
    else if (isFirst) log.debug("endpoint is healthy", fields);
    else log.info("endpoint is healthy again", fields);
  }

  #keepCounts(): void {
    const before = new Map(this.#counts);
    this.#counts.clear();
    for (const { target } of this.#watched.values()) {
      const { service } = target;
      if (this.#counts.has(service)) continue;
      this.#counts.set(service, before.get(service) ?? noCounts());
    }
  }
}

const NO_TIMER: Timer = { cancel() {} };

function noCounts(): Record<CheckResult, number> {
  return Object.fromEntries(CHECK_RESULTS.map((result) => [result, 0])) as Record<
    CheckResult,
    number
  >;
}

function keyOf(service: ServiceName, endpoint: string): string {
  return `${service} ${endpoint}`;
}

/** False: it is asked something else, and what it said before answers another question. */
function isSame(a: CheckTarget, b: CheckTarget): boolean {
  return (
    a.protocol === b.protocol &&
    a.proxyProtocol === b.proxyProtocol &&
    proofOf(a) === proofOf(b) &&
    textOf(a.check) === textOf(b.check)
  );
}

/** How it has to prove over TLS who it is; one that failed at that may do well with other CAs. */
function proofOf({ endpoint: { tls } }: CheckTarget): string | undefined {
  return tls && tlsId(tls);
}

function textOf({ grpc, http, tcp, ...policy }: HealthCheck): string {
  return JSON.stringify([grpc, http, tcp, policy]);
}
