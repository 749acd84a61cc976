import type { Millis } from "#kernel/brand.ts";
import type { Logger } from "#kernel/log.ts";
import type { Result } from "#kernel/result.ts";
import type { Listener } from "#model/snapshot.ts";
import type { ListenerStatus } from "#proxy/app/data_plane.ts";
import type { OpenPort } from "#proxy/listen/port.ts";
import { groupPorts, type PortGroup } from "#proxy/listen/port_groups.ts";

/** How long requests on a port that a new snapshot no longer names may go on. */
const REMOVED_DRAIN_MS = 30_000;

/** What a set of ports needs of the rest of the proxy. */
export interface PortOpener {
  /** Opens one port; the error says why it cannot be. */
  open(group: PortGroup): Promise<Result<OpenPort, string>>;
  /** Makes an open port follow what its listeners say now. */
  update(port: OpenPort, group: PortGroup): void;
}

/** The open ports of a proxy: follows the listeners of the snapshots, one change after the other. */
export class ListenerSet {
  readonly #opener: PortOpener;
  readonly #log: Logger;
  readonly #ports = new Map<string, Result<OpenPort, string>>();
  #work: Promise<void> = Promise.resolve();
  #groups: readonly PortGroup[] = [];

  constructor(opener: PortOpener, log: Logger) {
    this.#opener = opener;
    this.#log = log;
  }

  /** Opens what is new, drains what is gone and updates what stays, without touching its connections. */
  follow(listeners: readonly Listener[]): void {
    const groups = groupPorts(listeners);
    this.#work = this.#work.then(() => this.#change(groups));
  }

  async settled(): Promise<readonly ListenerStatus[]> {
    await this.#work;
    return this.#groups.flatMap((group) => {
      const port = this.#ports.get(keyOf(group))!;
      return group.listeners.map(({ name }) =>
        port.ok
          ? { name, bound: { address: port.value.address, port: port.value.port } }
          : { name, problem: port.error },
      );
    });
  }

  /** Each open port, by the name of its first listener. */
  *opened(): Iterable<{ readonly name: string; readonly port: OpenPort }> {
    for (const group of this.#groups) {
      const port = this.#ports.get(keyOf(group));
      if (port?.ok) yield { name: group.name, port: port.value };
    }
  }

  async drain(maxMs: Millis): Promise<void> {
    await this.#work;
    const ports = [...this.#ports.values()];
    this.#ports.clear();
    this.#groups = [];
    await Promise.all(ports.map((port) => (port.ok ? port.value.drain(maxMs) : undefined)));
  }

  async #change(groups: readonly PortGroup[]): Promise<void> {
    const wanted = new Map(groups.map((group) => [keyOf(group), group]));
    const places = new Set(groups.map(placeOf));
    places.delete("");
    const before = new Map(this.#groups.map((group) => [keyOf(group), group]));
    // Only what is in the way goes first.
    this.#closeAll((key) => !wanted.has(key) && places.has(placeOf(before.get(key))));
    const failed = new Set<string>();
    for (const [key, group] of wanted) {
      const open = this.#ports.get(key);
      if (open?.ok) {
        this.#opener.update(open.value, group);
        continue;
      }
      // One that failed before is tried again with each snapshot.
      const port = await this.#opener.open(group);
      this.#ports.set(key, port);
      if (!port.ok) {
        failed.add(group.name);
        this.#log.error("listener not opened", { listener: group.name, error: port.error });
      }
    }
    // A listener whose new port cannot be had keeps its old one.
    const kept = this.#groups.filter(
      (group) => failed.has(group.name) && !wanted.has(keyOf(group)),
    );
    const keptKeys = new Set(kept.map(keyOf));
    this.#closeAll((key) => !wanted.has(key) && !keptKeys.has(key));
    this.#groups = [...groups, ...kept.filter((group) => this.#ports.get(keyOf(group))?.ok)];
  }

  #closeAll(which: (key: string) => boolean): void {
    for (const [key, port] of [...this.#ports]) {
      if (!which(key)) continue;
      this.#ports.delete(key);
      // Not awaited: a new port may not wait for the last request of an old one.
      if (port.ok) void port.value.closeAndDrain(REMOVED_DRAIN_MS);
    }
  }
}

/** Two groups with the same key are the same open port. */
function keyOf({ name, protocol, address, port }: PortGroup): string {
  return port === 0 ? `${name} ${protocol}` : `${protocol} ${address} ${port}`;
}

/** Two groups cannot be open at the same place; port 0 is no place. */
function placeOf(group: PortGroup | undefined): string {
  return group === undefined || group.port === 0 ? "" : `${group.address} ${group.port}`;
}
