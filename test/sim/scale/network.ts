import type { Millis } from "#kernel/brand.ts";
import { type Rng, seededRng } from "#kernel/rng.ts";
import { lognormal } from "#test/sim/scale/chance.ts";
import type { Topology } from "#test/sim/scale/topology.ts";

/** Round trip inside a cluster. */
const LAN_MS = 0.3;
const SAMPLES = 4_096;

/** The ways between clusters: how long they take, and which swallow what is sent. */
export class Network {
  readonly topology: Topology;
  readonly #jitter: Float64Array;
  #at = 0;
  readonly #dark = new Set<number>();
  readonly #holes = new Set<number>();
  readonly #stretch = new Map<number, number>();

  constructor(topology: Topology, seed: number) {
    this.topology = topology;
    const rng: Rng = seededRng(seed, 23);
    this.#jitter = Float64Array.from({ length: SAMPLES }, () => lognormal(rng, 0.15));
  }

  /** Cuts a cluster off, or brings it back: whatever is on its ways is lost. */
  darken(place: number, isDark: boolean): void {
    if (isDark) this.#dark.add(place);
    else this.#dark.delete(place);
  }

  /** The same of one link, both ways. */
  cut(a: number, b: number, isCut: boolean): void {
    for (const key of [a * 100_000 + b, b * 100_000 + a]) {
      if (isCut) this.#holes.add(key);
      else this.#holes.delete(key);
    }
  }

  stretch(a: number, b: number, factor: number): void {
    this.#stretch.set(a * 100_000 + b, factor);
    this.#stretch.set(b * 100_000 + a, factor);
  }

  /** Time of one way; undefined: lost. */
  oneWay(a: number, b: number): Millis | undefined {
    if (a === b) return (LAN_MS / 2) * this.#next();
    if (this.isLost(a, b)) return undefined;
    return (this.rttMs(a, b) / 2) * this.#next();
  }

  isLost(a: number, b: number): boolean {
    if (this.#dark.size > 0 && (this.#dark.has(a) || this.#dark.has(b))) return true;
    return this.#holes.size > 0 && this.#holes.has(a * 100_000 + b);
  }

  rttMs(a: number, b: number): Millis {
    const base = this.topology.rttMs(a, b);
    if (this.#stretch.size === 0) return base;
    return base * (this.#stretch.get(a * 100_000 + b) ?? 1);
  }

  #next(): number {
    this.#at = (this.#at + 1) % SAMPLES;
    return this.#jitter[this.#at]!;
  }
}
