/** What one asks of what there is to be shared. */
export interface Claim {
  /** What it would use; infinite: all that it can get. */
  readonly want: number;
  /** What it is given before others get more, even if it wants less; absent: nothing. */
  readonly floor?: number;
}

/**
 * Shares `total` out by max-min fairness (progressive filling): nobody gets less than another who wants no more, and
 * nobody gets more than it wants while another lacks something. What is left when all have what they want is
 * shared evenly, so that who wants more all at once has something already. In the order of `claims`; equal claims get
 * the same to the bit. The sum is `total`, but for rounding; without bound nobody has a bound. Negative numbers and
 * NaN count as 0.
 */
export function allot(total: number, claims: readonly Claim[]): number[] {
  if (total === Number.POSITIVE_INFINITY) return claims.map(() => total);
  const wants = claims.map(({ want, floor }) => Math.max(positive(want), positive(floor ?? 0)));
  let [left, open] = [positive(total), wants.length];
  for (const want of Float64Array.from(wants).sort()) {
    const level = left / open;
    if (want > level) return wants.map((one) => Math.min(one, level));
    left -= want;
    open--;
  }
  return wants.map((want) => want + left / wants.length);
}

function positive(value: number): number {
  return Math.max(0, Number.isNaN(value) ? 0 : value);
}
