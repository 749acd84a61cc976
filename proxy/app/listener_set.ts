import type { Millis } from "#kernel/brand.ts";
import type { Logger } from "#kernel/log.ts";
import type { Result } from "#kernel/result.ts";
import type { Listener } from "#model/snapshot.ts";
import type { ListenerStatus } from "#proxy/app/data_plane.ts";
import type { OpenListener } from "#proxy/listen/listener.ts";

/** How long requests on a listener that a new snapshot no longer names may go on. */
const REMOVED_DRAIN_MS = 30_000;

/** Opens one listener; the error says why it cannot be. */
export type OpenPort = (listener: Listener) => Promise<Result<OpenListener, string>>;

/** The open ports of a proxy: follows the listeners of the snapshots, one change after the other. */
export class ListenerSet {
  readonly #open: OpenPort;
  readonly #log: Logger;
  readonly #ports = new Map<string, Result<OpenListener, string>>();
  #work: Promise<void> = Promise.resolve();
  #names = new Map<string, string>();

  constructor(open: OpenPort, log: Logger) {
    this.#open = open;
    this.#log = log;
  }

  /** Opens what is new and drains what is gone; what stays is not touched. */
  follow(listeners: readonly Listener[]): void {
    this.#work = this.#work.then(() => this.#change(listeners));
  }

  async settled(): Promise<readonly ListenerStatus[]> {
    await this.#work;
    return [...this.#names].map(([name, key]) => {
      const port = this.#ports.get(key)!;
      return port.ok
        ? { name, bound: { address: port.value.address, port: port.value.port } }
        : { name, problem: port.error };
    });
  }

  *opened(): Iterable<{ readonly name: string; readonly port: OpenListener }> {
    for (const [name, key] of this.#names) {
      const port = this.#ports.get(key);
      if (port?.ok) yield { name, port: port.value };
    }
  }

  async drain(maxMs: Millis): Promise<void> {
    await this.#work;
    const ports = [...this.#ports.values()];
    this.#ports.clear();
    this.#names = new Map();
    await Promise.all(ports.map((port) => (port.ok ? port.value.drain(maxMs) : undefined)));
  }

  async #change(listeners: readonly Listener[]): Promise<void> {
    const wanted = new Map(listeners.map((listener) => [keyOf(listener), listener]));
    for (const [key, port] of this.#ports) {
      if (wanted.has(key)) continue;
      this.#ports.delete(key);
      // Not awaited: a new listener may not wait for the last request of an old one.
      if (port.ok) void port.value.drain(REMOVED_DRAIN_MS);
    }
    for (const [key, listener] of wanted) {
      // One that failed before is tried again with each snapshot.
      if (this.#ports.get(key)?.ok) continue;
      const port = await this.#open(listener);
      this.#ports.set(key, port);
      if (!port.ok) {
        this.#log.error("listener not opened", { listener: listener.name, error: port.error });
      }
    }
    this.#names = new Map(listeners.map((listener) => [listener.name, keyOf(listener)]));
  }
}

/** Two listeners with the same key are the same open port. */
function keyOf(listener: Listener): string {
  return `${listener.name} ${listener.protocol} ${listener.address} ${listener.port}`;
}
