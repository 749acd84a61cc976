import { type MeshName, parseServiceAddress, type ServiceAddress } from "#model/names.ts";
import type { Listener, Route, Snapshot } from "#model/snapshot.ts";
import type { RequestHead } from "#proxy/exchange/exchange.ts";
import { groupPorts, type PortGroup } from "#proxy/listen/port_groups.ts";
import { CallTable } from "#proxy/route/calls.ts";
import { compileConditions } from "#proxy/route/conditions.ts";
import { hostnamesOn, hostOf, isIsolated } from "#proxy/route/host.ts";
import { PathTable } from "#proxy/route/paths.ts";
import { type CompiledRule, compileRule } from "#proxy/route/rule.ts";

/** Where a request is to go: by a route's rule, or by an address of the mesh itself. */
export type RouteMatch = CompiledRule | ({ readonly kind: "address" } & ServiceAddress);

/** The routes of one host. Where configurations come from it has routes of one kind. */
interface HostRoutes {
  readonly paths: PathTable<RouteMatch>;
  /** Undefined: no route is for calls of gRPC alone. */
  calls: CallTable<RouteMatch> | undefined;
}

/** The routes of one port: by exact host, by `*.` suffix, and for every other host. */
interface Hosts {
  readonly exact: Map<string, HostRoutes>;
  readonly wildcard: Map<string, HostRoutes>;
  any: HostRoutes | undefined;
}

/** All routes of a snapshot, compiled. Immutable. */
export class RouteTable {
  readonly #mesh: MeshName;
  readonly #ports: ReadonlyMap<string, Hosts>;

  constructor(mesh: MeshName, ports: ReadonlyMap<string, Hosts>) {
    this.#mesh = mesh;
    this.#ports = ports;
  }

  /** The most specific host that has routes decides alone; then the path and what else they ask for. */
  match(port: string, head: RequestHead): RouteMatch | undefined {
    const hosts = this.#ports.get(port);
    if (hosts === undefined) return undefined;
    const host = hostOf(head.authority);
    const named = findNamed(hosts, host);
    // A tunnel needs a route that allows it.
    if (named === undefined && head.method !== "CONNECT") {
      const address = parseServiceAddress(host, this.#mesh);
      if (address !== undefined) return { kind: "address", ...address };
    }
    const routes = named ?? hosts.any;
    return routes?.calls?.find(head) ?? routes?.paths.find(head);
  }
}

function findNamed(hosts: Hosts, host: string): HostRoutes | undefined {
  const exact = hosts.exact.size === 0 ? undefined : hosts.exact.get(host);
  if (exact !== undefined || hosts.wildcard.size === 0) return exact;
  for (let dot = host.indexOf("."); dot >= 0; dot = host.indexOf(".", dot + 1)) {
    const wildcard = hosts.wildcard.get(host.slice(dot));
    if (wildcard !== undefined) return wildcard;
  }
  return undefined;
}

/** Builds the table of a snapshot. */
export function compileRoutes(snapshot: Snapshot): RouteTable {
  const ports = new Map<string, Hosts>();
  for (const group of groupPorts(snapshot.listeners)) {
    ports.set(group.name, compilePort(group, snapshot.routes));
  }
  return new RouteTable(snapshot.mesh, ports);
}

function compilePort(group: PortGroup, routes: readonly Route[]): Hosts {
  const hosts: Hosts = { exact: new Map(), wildcard: new Map(), any: undefined };
  for (const listener of group.listeners) {
    // A host that a listener claims is not answered by routes of a less specific one.
    if (group.listeners.length > 1 && listener.hostname !== undefined) {
      routesFor(hosts, listener.hostname);
    }
    for (const route of routes) {
      if (route.listeners.includes(listener.name)) addRoute(hosts, group, listener, route);
    }
  }
  return hosts;
}

function addRoute(hosts: Hosts, group: PortGroup, listener: Listener, route: Route): void {
  for (const hostname of hostnamesOn(listener, route.hostnames)) {
    if (isIsolated(group, listener, hostname)) continue;
    const routes = routesFor(hosts, hostname);
    for (const rule of route.rules) {
      for (const match of rule.matches) {
        const { path, grpc } = match;
        const prefix = path.type === "PathPrefix" ? path.value : undefined;
        const compiled = compileRule({ route, rule, listener }, prefix);
        const conditions = compileConditions(match);
        const preflights = rule.filters?.cors !== undefined;
        if (grpc) routes.calls ??= new CallTable();
        const table = grpc ? routes.calls! : routes.paths;
        table.add(path, conditions, compiled, preflights);
      }
    }
  }
}

function routesFor(hosts: Hosts, hostname: string | undefined): HostRoutes {
  if (hostname === undefined) {
    hosts.any ??= noRoutes();
    return hosts.any;
  }
  const wildcard = hostname.startsWith("*.");
  const map = wildcard ? hosts.wildcard : hosts.exact;
  const key = wildcard ? hostname.slice(1) : hostname;
  let routes = map.get(key);
  if (routes === undefined) {
    routes = noRoutes();
    map.set(key, routes);
  }
  return routes;
}

function noRoutes(): HostRoutes {
  return { paths: new PathTable(), calls: undefined };
}
