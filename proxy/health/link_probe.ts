import type { Millis } from "#kernel/brand.ts";
import type { Clock, Timer } from "#kernel/clock.ts";
import type { Rng } from "#kernel/rng.ts";
import type { ClusterName } from "#model/names.ts";
import type { Endpoint } from "#model/snapshot.ts";
import {
  afterProbe,
  LINK_PROBE,
  type LinkProbePolicy,
  type LinkState,
  NEW_LINK,
} from "#proxy/health/link_state.ts";
import { endpointKey, type Links } from "#proxy/upstream/upstreams.ts";

/** A way to another cluster: one of its gateways. */
export interface Link {
  readonly cluster: ClusterName;
  readonly endpoint: Endpoint;
}

export interface LinkProberOptions {
  readonly clock: Clock;
  readonly rng: Rng;
  readonly links: Links;
  readonly policy?: LinkProbePolicy;
  /** Told of each reading; `rttMs` undefined: the link is down. */
  readonly onReading: (link: Link, rttMs: Millis | undefined) => void;
}

interface Watched {
  readonly link: Link;
  state: LinkState;
  timer: Timer;
  /** Ends the probe that is running, whatever comes of it. */
  drop: () => void;
}

/**
 * Asks each peer gateway for a sign of life on the very connections that requests use, so that a
 * black hole is told from a slow service: the requests on a dead link are failed at once, the others
 * wait for their answers.
 */
export class LinkProber {
  readonly #options: LinkProberOptions;
  readonly #policy: LinkProbePolicy;
  readonly #watched = new Map<string, Watched>();

  constructor(options: LinkProberOptions) {
    this.#options = options;
    this.#policy = options.policy ?? LINK_PROBE;
  }

  /** Watches exactly `links` from now on; readings of those that stay are kept. */
  watch(links: readonly Link[]): void {
    const wanted = new Map(links.map((link) => [endpointKey(link.endpoint), link]));
    for (const [key, watched] of this.#watched) {
      if (!wanted.has(key)) this.#forget(key, watched);
    }
    for (const [key, link] of wanted) {
      if (!this.#watched.has(key)) this.#watched.set(key, this.#begin(link));
    }
  }

  *states(): Iterable<{ readonly link: Link; readonly state: LinkState }> {
    for (const { link, state } of this.#watched.values()) yield { link, state };
  }

  close(): void {
    for (const [key, watched] of this.#watched) this.#forget(key, watched);
  }

  #begin(link: Link): Watched {
    const watched: Watched = { link, state: NEW_LINK, timer: NO_TIMER, drop() {} };
    this.#schedule(watched, 0);
    return watched;
  }

  #forget(key: string, watched: Watched): void {
    this.#watched.delete(key);
    watched.timer.cancel();
    watched.drop();
  }

  /** Jittered by ±20 %, so that a fleet does not probe in step. */
  #schedule(watched: Watched, delayMs: Millis): void {
    const jitter = 0.8 + 0.4 * this.#options.rng.next();
    watched.timer = this.#options.clock.after(delayMs * jitter, () => this.#probe(watched));
  }

  #probe(watched: Watched): void {
    const { clock, links } = this.#options;
    const { timeoutMs, periodMs } = this.#policy;
    const startedAt = clock.now();
    let isOver = false;
    let timeout: Timer;
    const drop = (): void => {
      isOver = true;
      timeout.cancel();
    };
    const done = (rttMs: Millis | undefined): void => {
      if (isOver) return;
      drop();
      this.#read(watched, rttMs);
      // Counted from its start: who has waited a whole time-out in vain asks again at once.
      this.#schedule(watched, Math.max(0, periodMs - (clock.now() - startedAt)));
    };
    timeout = clock.after(timeoutMs, () => {
      // If this process stood still, the answer may have come and only lie unread.
      const stoodStill = clock.now() - startedAt > timeoutMs + STALL_MS;
      if (stoodStill) timeout = clock.after(STALL_MS, () => done(undefined));
      else done(undefined);
    });
    watched.drop = drop;
    links.ping(watched.link.endpoint, done);
  }

  #read(watched: Watched, rttMs: Millis | undefined): void {
    const wasUp = watched.state.up;
    watched.state = afterProbe(watched.state, rttMs, this.#policy);
    const { up } = watched.state;
    if (up) {
      if (rttMs !== undefined) this.#options.onReading(watched.link, watched.state.rttMs);
      return;
    }
    this.#options.onReading(watched.link, undefined);
    if (wasUp) this.#options.links.sever(watched.link.endpoint);
  }
}

/** A timer this late says more of us than of the link. */
const STALL_MS: Millis = 100;

const NO_TIMER: Timer = { cancel() {} };
