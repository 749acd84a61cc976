import type { Rng } from "#kernel/rng.ts";

/** Draws indexes in proportion to weights, in the same time for any number of them (A. Walker 1977, M. Vose 1991). */
export class AliasTable {
  readonly #kept: Float64Array;
  readonly #alias: Int32Array;

  /** @param weights positive; at least one. */
  constructor(weights: ArrayLike<number>) {
    const count = weights.length;
    this.#kept = new Float64Array(count).fill(1);
    this.#alias = new Int32Array(count);
    let sum = 0;
    for (let i = 0; i < count; i++) sum += weights[i]!;
    const left = Float64Array.from(weights, (weight) => (weight * count) / sum);
    const small: number[] = [];
    const large: number[] = [];
    for (let i = 0; i < count; i++) (left[i]! < 1 ? small : large).push(i);
    while (small.length > 0 && large.length > 0) {
      const less = small.pop()!;
      const more = large.at(-1)!;
      this.#kept[less] = left[less]!;
      this.#alias[less] = more;
      left[more] = left[more]! + left[less]! - 1;
      if (left[more]! < 1) small.push(large.pop()!);
    }
  }

  draw(rng: Rng): number {
    const point = rng.next() * this.#kept.length;
    const at = Math.floor(point);
    return point - at < this.#kept[at]! ? at : this.#alias[at]!;
  }
}
