import type { Listener } from "#model/snapshot.ts";

/** The listeners that share one open port: of one protocol, told apart by their hostnames. */
export interface PortGroup {
  /** Name of its first listener: stands for the port in routes and metrics. */
  readonly name: string;
  readonly address: string;
  /** 0: chosen by the system, and never shared. */
  readonly port: number;
  readonly protocol: Listener["protocol"];
  readonly listeners: readonly Listener[];
}

/** In the order of their first listeners. */
export function groupPorts(listeners: readonly Listener[]): PortGroup[] {
  const groups = new Map<string, PortGroup & { listeners: Listener[] }>();
  for (const listener of listeners) {
    const { name, address, port, protocol } = listener;
    const key = port === 0 ? name : `${protocol} ${address} ${port}`;
    const group = groups.get(key);
    if (group === undefined) {
      groups.set(key, { name, address, port, protocol, listeners: [listener] });
    } else group.listeners.push(listener);
  }
  return [...groups.values()];
}

/** The most specific of the listeners that answer for `host`; undefined if none does. */
export function listenerFor(group: PortGroup, host: string): Listener | undefined {
  let best: Listener | undefined;
  for (const listener of group.listeners) {
    if (!isFor(listener.hostname, host)) continue;
    if (best === undefined || specificity(listener) > specificity(best)) best = listener;
  }
  return best;
}

function isFor(pattern: string | undefined, host: string): boolean {
  if (pattern === undefined || pattern === host) return true;
  return pattern.startsWith("*.") && host.endsWith(pattern.slice(1));
}

/** An exact name beats a wildcard, a longer one a shorter one, any beats none. */
function specificity({ hostname }: Listener): number {
  if (hostname === undefined) return 0;
  return hostname.startsWith("*.") ? hostname.length : 1_000 + hostname.length;
}
