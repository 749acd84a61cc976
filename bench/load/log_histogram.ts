/** Parts of one doubling: a reading is told from one that is 3 % larger. */
const PARTS_BITS = 5;
const PARTS = 1 << PARTS_BITS;
/** Readings up to 2^31 µs, 35 minutes; what is longer counts as that. */
const DOUBLINGS = 31 - PARTS_BITS;
const READING_MAX = 2 ** 31 - 1;

/**
 * Readings in µs by buckets that grow with them, as HdrHistogram has it: fixed memory, the same relative
 * error everywhere, and two of them can be added.
 */
export class LogHistogram {
  readonly #counts = new Uint32Array(PARTS * (DOUBLINGS + 1));
  #count = 0;
  #max = 0;

  get count(): number {
    return this.#count;
  }

  /** The largest reading itself, µs. */
  get max(): number {
    return this.#max;
  }

  record(micros: number): void {
    const reading = Math.min(READING_MAX, Math.max(0, Math.round(micros)));
    this.#counts[bucketOf(reading)]!++;
    this.#count++;
    if (reading > this.#max) this.#max = reading;
  }

  add(other: LogHistogram): void {
    for (let i = 0; i < this.#counts.length; i++) this.#counts[i]! += other.#counts[i]!;
    this.#count += other.#count;
    this.#max = Math.max(this.#max, other.#max);
  }

  /** The reading that `percent` of all do not exceed, µs; at most 3 % too large. NaN: there are none. */
  percentile(percent: number): number {
    if (this.#count === 0) return Number.NaN;
    const wanted = Math.max(1, Math.ceil((percent / 100) * this.#count));
    let seen = 0;
    for (let i = 0; i < this.#counts.length; i++) {
      seen += this.#counts[i]!;
      if (seen >= wanted) return Math.min(this.#max, upperEndOf(i));
    }
    return this.#max;
  }
}

function bucketOf(reading: number): number {
  if (reading < PARTS) return reading;
  const doubling = 31 - Math.clz32(reading) - PARTS_BITS;
  return PARTS * (doubling + 1) + ((reading >> doubling) & (PARTS - 1));
}

function upperEndOf(bucket: number): number {
  if (bucket < PARTS) return bucket;
  const doubling = Math.floor(bucket / PARTS) - 1;
  return (PARTS + (bucket % PARTS) + 1) * 2 ** doubling - 1;
}
