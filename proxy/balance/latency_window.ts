import type { Millis } from "#kernel/brand.ts";

const SIZE = 128;

/** The last response times of a service, for their median. Fixed memory, one store per answer. */
export class LatencyWindow {
  readonly #ring = new Float64Array(SIZE);
  #count = 0;

  add(latencyMs: Millis): void {
    this.#ring[this.#count % SIZE] = latencyMs;
    this.#count++;
  }

  /** Undefined before the first answer. */
  median(): Millis | undefined {
    const filled = Math.min(this.#count, SIZE);
    if (filled === 0) return undefined;
    return this.#ring.slice(0, filled).sort()[filled >> 1];
  }
}
