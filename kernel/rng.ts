import { randomBytes } from "node:crypto";

/** The only source of chance on decision paths. Not for secrets: those use `node:crypto`. */
export interface Rng {
  /** Uniform in [0, 1). */
  next(): number;
  /** Uniform integer in [0, n); `n` ≥ 1. */
  below(n: number): number;
}

/**
 * sfc32 (C. Doty-Humphrey, PractRand): small, fast, passes the usual batteries; the same seed gives
 * the same stream on every machine.
 */
export function seededRng(
  seed: number,
  seed2 = 0x243f6a88,
  seed3 = 0xb7e15162 ^ (seed >>> 16),
): Rng {
  let a = 0x9e3779b9 ^ seed;
  let b = seed2;
  let c = seed3;
  let d = 1;
  const next32 = (): number => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + t) | 0;
    return t >>> 0;
  };
  // The first outputs still resemble the seed.
  for (let i = 0; i < 12; i++) next32();
  const next = () => next32() / 0x1_0000_0000;
  return { next, below: (n) => Math.floor(next() * n) };
}

/** A stream that differs from process to process. */
export function systemRng(): Rng {
  const bytes = randomBytes(12);
  return seededRng(bytes.readInt32LE(0), bytes.readInt32LE(4), bytes.readInt32LE(8));
}
