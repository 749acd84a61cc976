/** How many are remembered. */
const KEPT = 256;

/**
 * How the last streams of a connection have ended. What was on its way to one that we have reset is no fault of the
 * peer; what comes after an end that it has said itself is.
 */
export class ClosedStreams {
  readonly #ids = new Int32Array(KEPT);
  readonly #resets = new Uint8Array(KEPT);

  /** @param how `reset`: by us. */
  add(id: number, how: "ended" | "reset"): void {
    // Ids of one side go by two.
    const place = (id >>> 1) % KEPT;
    this.#ids[place] = id;
    this.#resets[place] = how === "reset" ? 1 : 0;
  }

  /** `old`: it has ended, who knows how. Undefined: it was never a stream. */
  howOf(id: number): "ended" | "reset" | "old" | undefined {
    const place = (id >>> 1) % KEPT;
    const last = this.#ids[place]!;
    if (last !== id) return last > id ? "old" : undefined;
    return this.#resets[place] === 1 ? "reset" : "ended";
  }
}
