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

  /** Undefined: it was never a stream, or is long forgotten. */
  howOf(id: number): "ended" | "reset" | undefined {
    const place = (id >>> 1) % KEPT;
    if (this.#ids[place] !== id) return undefined;
    return this.#resets[place] === 1 ? "reset" : "ended";
  }
}
