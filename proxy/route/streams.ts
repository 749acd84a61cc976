import type { Snapshot, StreamRoute } from "#model/snapshot.ts";
import { groupPorts, type PortGroup } from "#proxy/listen/port_groups.ts";
import { hostnamesOn, isIsolated } from "#proxy/route/host.ts";

/** Where the connections of one route go. */
export interface StreamTarget {
  readonly name: string;
  readonly backends: StreamRoute["backends"];
  readonly totalWeight: number;
}

interface Names {
  readonly exact: Map<string, StreamTarget>;
  readonly wildcard: Map<string, StreamTarget>;
  any: StreamTarget | undefined;
}

/** TCPRoutes and TLSRoutes of a snapshot, compiled. Immutable. */
export class StreamRouteTable {
  readonly #ports: ReadonlyMap<string, Names>;

  constructor(ports: ReadonlyMap<string, Names>) {
    this.#ports = ports;
  }

  /** The most specific name decides. @param serverName undefined: the client named none. */
  match(port: string, serverName: string | undefined): StreamTarget | undefined {
    const names = this.#ports.get(port);
    if (names === undefined || serverName === undefined) return names?.any;
    const exact = names.exact.get(serverName);
    if (exact !== undefined) return exact;
    for (let dot = serverName.indexOf("."); dot >= 0; dot = serverName.indexOf(".", dot + 1)) {
      const wildcard = names.wildcard.get(serverName.slice(dot));
      if (wildcard !== undefined) return wildcard;
    }
    return names.any;
  }
}

/** Builds the table of a snapshot. */
export function compileStreams(snapshot: Snapshot): StreamRouteTable {
  const ports = new Map<string, Names>();
  for (const group of groupPorts(snapshot.listeners)) {
    if (group.protocol === "TCP" || group.protocol === "TLS") {
      ports.set(group.name, namesOf(group, snapshot.streamRoutes));
    }
  }
  return new StreamRouteTable(ports);
}

function namesOf(group: PortGroup, routes: readonly StreamRoute[]): Names {
  const names: Names = { exact: new Map(), wildcard: new Map(), any: undefined };
  for (const listener of group.listeners) {
    for (const route of routes) {
      if (!route.listeners.includes(listener.name)) continue;
      const { name, backends } = route;
      const totalWeight = backends.reduce((sum, { weight }) => sum + weight, 0);
      const target = { name, backends, totalWeight };
      for (const host of hostnamesOn(listener, route.hostnames)) {
        if (isIsolated(group, listener, host)) continue;
        // The first one stays: routes come in the order of their precedence.
        if (host === undefined) names.any ??= target;
        else if (!host.startsWith("*.")) setOnce(names.exact, host, target);
        else setOnce(names.wildcard, host.slice(1), target);
      }
    }
  }
  return names;
}

function setOnce(map: Map<string, StreamTarget>, key: string, target: StreamTarget): void {
  if (!map.has(key)) map.set(key, target);
}
