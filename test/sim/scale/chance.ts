import type { Rng } from "#kernel/rng.ts";

/** A normal reading, mean 0, deviation 1 (Box and Muller's first). */
function normal(rng: Rng): number {
  // 1 - next: never the logarithm of 0.
  return Math.sqrt(-2 * Math.log(1 - rng.next())) * Math.cos(2 * Math.PI * rng.next());
}

/** Lognormal of mean 1: what service times and delays are multiplied by. */
export function lognormal(rng: Rng, sigma: number): number {
  return Math.exp(sigma * normal(rng) - (sigma * sigma) / 2);
}

/** Time to the next arrival of a Poisson process. @param perMs its rate. */
export function exponential(rng: Rng, perMs: number): number {
  return -Math.log(1 - rng.next()) / perMs;
}

export function between(rng: Rng, low: number, high: number): number {
  return low + (high - low) * rng.next();
}
