import type { Millis } from "#kernel/brand.ts";
import type { Clock, Timer } from "#kernel/clock.ts";
import type { Rng } from "#kernel/rng.ts";
import type { ClusterName } from "#model/names.ts";
import type { Endpoint } from "#model/snapshot.ts";
import type { AnswerSink, UpstreamStream } from "#proxy/exchange/exchange.ts";
import {
  afterProbe,
  LINK_PROBE,
  type LinkProbePolicy,
  type LinkState,
  NEW_LINK,
} from "#proxy/health/link_state.ts";
import { endpointKey, type Upstreams } from "#proxy/upstream/upstreams.ts";

/** A way to another cluster: one of its gateways. */
export interface Link {
  readonly cluster: ClusterName;
  readonly endpoint: Endpoint;
}

export interface LinkProberOptions {
  readonly clock: Clock;
  readonly rng: Rng;
  readonly upstreams: Upstreams;
  /** Path that a gateway answers itself. */
  readonly pingTarget: string;
  readonly policy?: LinkProbePolicy;
  /** Told of each reading; `rttMs` undefined: the link is down. */
  readonly onReading: (link: Link, rttMs: Millis | undefined) => void;
}

interface Watched {
  readonly link: Link;
  state: LinkState;
  timer: Timer;
  probe: { readonly stream: UpstreamStream; readonly timeout: Timer } | undefined;
}

/**
 * Asks each peer gateway for a sign of life over the same connections that requests use, so that a
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
    const watched: Watched = { link, state: NEW_LINK, timer: NO_TIMER, probe: undefined };
    this.#schedule(watched, 0);
    return watched;
  }

  #forget(key: string, watched: Watched): void {
    this.#watched.delete(key);
    watched.timer.cancel();
    watched.probe?.timeout.cancel();
    watched.probe?.stream.cancel();
  }

  /** Jittered by ±20 %, so that a fleet does not probe in step. */
  #schedule(watched: Watched, delayMs: Millis): void {
    const jitter = 0.8 + 0.4 * this.#options.rng.next();
    watched.timer = this.#options.clock.after(delayMs * jitter, () => this.#probe(watched));
  }

  #probe(watched: Watched): void {
    const { clock, upstreams, pingTarget } = this.#options;
    const startedAt = clock.now();
    const done = (alive: boolean): void => {
      watched.probe?.timeout.cancel();
      watched.probe = undefined;
      this.#read(watched, alive ? clock.now() - startedAt : undefined);
      this.#schedule(watched, this.#policy.periodMs);
    };
    const head = {
      method: "GET",
      target: pingTarget,
      authority: watched.link.cluster,
      fields: [],
      body: 0,
      upgrade: undefined,
      takesTrailers: false,
    };
    // A link whose connections are all busy is not dead: its probe does not wait for one.
    const stream = upstreams.open(watched.link.endpoint, head, probeSink(done), true);
    const { timeoutMs } = this.#policy;
    const giveUp = (): void => {
      stream.cancel();
      done(false);
    };
    const timeout = clock.after(timeoutMs, () => {
      // If this process stood still, the answer may have come and only lie unread.
      const stoodStill = clock.now() - startedAt > timeoutMs + STALL_MS;
      if (stoodStill) watched.probe = { stream, timeout: clock.after(STALL_MS, giveUp) };
      else giveUp();
    });
    watched.probe = { stream, timeout };
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
    if (wasUp) this.#options.upstreams.sever(watched.link.endpoint);
  }
}

/** A timer this late says more of us than of the link. */
const STALL_MS: Millis = 100;

const NO_TIMER: Timer = { cancel() {} };

function probeSink(done: (alive: boolean) => void): AnswerSink {
  let status = 0;
  return {
    onInterim() {},
    onAnswer: (head) => {
      status = head.status;
    },
    onAnswerBody: () => true,
    onAnswerEnd: () => done(status === 204),
    onRequestDrain() {},
    onFailure: () => done(false),
  };
}
