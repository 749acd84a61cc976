/**
 * What the waterfall has come to: shares of new requests by slot. Without parts (`places.split`, `places.pin`) a
 * slot is a locale; with them it is a locale on behalf of a part, numbered `part × locales + locale`, and what
 * is on behalf of none comes last. Written by the waterfall alone, before anybody has it.
 */
export class Weights {
  /** Sums to 1; or all are 0, since nobody can take anything. */
  readonly shares: Float64Array;
  /** Of each class (`PRIORITIES`), the share of its requests that nobody can bear. */
  readonly shed = new Float64Array(3);
  /** Slots that have a share, … */
  readonly taking: Uint32Array;
  /** … how many, … */
  count = 0;
  /** … and the sum of the shares up to each. */
  readonly sums: Float64Array;

  constructor(slots: number) {
    this.shares = new Float64Array(slots);
    this.taking = new Uint32Array(slots);
    this.sums = new Float64Array(slots);
  }

  /** The shares are written: makes the rest of them. */
  seal(): void {
    let sum = 0;
    let count = 0;
    for (let slot = 0; slot < this.shares.length; slot++) {
      const share = this.shares[slot]!;
      if (share <= 0) continue;
      sum += share;
      this.taking[count] = slot;
      this.sums[count] = sum;
      count++;
    }
    this.count = count;
  }

  /** The slot at `point`, 0 ≤ point < 1, of all shares laid side by side; -1: nobody has any. */
  at(point: number): number {
    const { count, sums } = this;
    if (count === 0) return -1;
    let low = 0;
    let high = count - 1;
    const wanted = point * sums[high]!;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sums[middle]! > wanted) high = middle;
      else low = middle + 1;
    }
    return this.taking[low]!;
  }
}
