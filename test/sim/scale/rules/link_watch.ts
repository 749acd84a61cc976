import type { Millis } from "#kernel/brand.ts";
import type { Rng } from "#kernel/rng.ts";
import { afterProbe, LINK_PROBE, type LinkState, NEW_LINK } from "#proxy/health/link_state.ts";
import type { EventQueue } from "#test/sim/scale/event_queue.ts";
import type { Network } from "#test/sim/scale/network.ts";

/** Probes one link as `proxy/health/link_probe.ts` does, with its policy and its judgement. */
export class LinkWatch {
  readonly #queue: EventQueue;
  readonly #network: Network;
  readonly #rng: Rng;
  readonly #from: number;
  readonly #to: number;
  readonly #onReading: (rttMs: Millis | undefined, wentDown: boolean) => void;
  #state: LinkState = NEW_LINK;

  constructor(
    ports: { readonly queue: EventQueue; readonly network: Network; readonly rng: Rng },
    link: { readonly from: number; readonly to: number },
    onReading: (rttMs: Millis | undefined, wentDown: boolean) => void,
  ) {
    this.#queue = ports.queue;
    this.#network = ports.network;
    this.#rng = ports.rng;
    this.#from = link.from;
    this.#to = link.to;
    this.#onReading = onReading;
  }

  start(): void {
    this.#queue.after(LINK_PROBE.periodMs * this.#rng.next(), () => this.#probe());
  }

  #probe(): void {
    const there = this.#network.oneWay(this.#from, this.#to);
    if (there === undefined) this.#queue.after(LINK_PROBE.timeoutMs, () => this.#read(undefined));
    else this.#queue.after(there, () => this.#goBack(there));
  }

  #goBack(there: Millis): void {
    const back = this.#network.oneWay(this.#to, this.#from);
    if (back === undefined || there + back > LINK_PROBE.timeoutMs) {
      this.#queue.after(LINK_PROBE.timeoutMs - there, () => this.#read(undefined));
    } else this.#queue.after(back, () => this.#read(there + back));
  }

  #read(rttMs: Millis | undefined): void {
    const wasUp = this.#state.up;
    this.#state = afterProbe(this.#state, rttMs, LINK_PROBE);
    if (!this.#state.up) this.#onReading(undefined, wasUp);
    else if (rttMs !== undefined) this.#onReading(this.#state.rttMs, false);
    const wait = LINK_PROBE.periodMs * (0.8 + 0.4 * this.#rng.next());
    this.#queue.after(wait, () => this.#probe());
  }
}
