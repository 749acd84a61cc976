/**
 * How a stream can end. `right`: whole, every byte in its place. `error`: a whole answer that says so. `cut`: the client
 * was told by a reset or a broken connection. `gave_up`: by the client itself. The others must not be: `wrong` is a
 * complete answer that is not its own or not whole, or any byte that is not in its place; `silent` has not ended.
 */
export const ENDS = ["right", "error", "cut", "gave_up", "wrong", "silent"] as const;

/** One of them. */
export type End = (typeof ENDS)[number];

type Counts = Record<End, number>;

/** No deadline is longer than 15 s; who still hears nothing then has been forgotten. */
const SILENT_MS = 45_000;

/** Every stream that was begun and how it has ended. */
export class Ledger {
  /** Of each kind of stream. */
  readonly counts: Record<string, Counts> = {};
  /** What was wrong, the first of them. */
  readonly wrongs: string[] = [];
  /** Statuses and reasons of those that were no success. */
  readonly reasons: Record<string, number> = {};
  readonly #open = new Map<number, { readonly kind: string; readonly at: number }>();
  #last = 0;

  get running(): number {
    return this.#open.size;
  }

  /** Returns the number of the stream. */
  begin(kind: string): number {
    this.#open.set(++this.#last, { kind, at: performance.now() });
    return this.#last;
  }

  end(stream: number, how: End, reason = ""): void {
    const entry = this.#open.get(stream);
    if (entry === undefined) return;
    this.#open.delete(stream);
    this.counts[entry.kind] ??= { right: 0, error: 0, cut: 0, gave_up: 0, wrong: 0, silent: 0 };
    this.counts[entry.kind]![how]++;
    if (how === "right" || how === "gave_up") return;
    if (how !== "cut" && how !== "error") this.wrongs.push(`${entry.kind} ${stream}: ${reason}`);
    // Numbers of bytes would make each its own.
    const key = how === "wrong" ? how : `${how}: ${reason.trim()}`;
    this.reasons[key] = (this.reasons[key] ?? 0) + 1;
  }

  /** Takes those that have not ended for too long for silent. */
  sweep(): void {
    const now = performance.now();
    for (const [stream, { at }] of this.#open) {
      if (now - at > SILENT_MS) this.end(stream, "silent", "no end");
    }
  }

  total(end: End): number {
    return Object.values(this.counts).reduce((sum, counts) => sum + counts[end], 0);
  }
}
