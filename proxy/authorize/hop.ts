import type { Millis } from "#kernel/brand.ts";
import { err, ok, type Result } from "#kernel/result.ts";
import {
  type ClusterName,
  coreOf,
  isWithin,
  lineage,
  type MeshName,
  parseClusterName,
  parseServiceName,
  type ServiceName,
} from "#model/names.ts";
import { PRIORITIES, type Priority } from "#model/traffic_policy.ts";
import type { Fields } from "#proxy/exchange/exchange.ts";
import { type Failure, failure } from "#proxy/exchange/failure.ts";
import type { Peer } from "#proxy/exchange/peer.ts";
import { isSeat } from "#proxy/filter/session.ts";

/** Clusters that a request may pass through: twice the depth of a four-level tree. */
export const HOPS_MAX = 8;
/** Tries after the first that a request gets, over its whole path. */
export const RETRIES_DEFAULT = 3;
const RETRIES_MAX = 10;
const CALLER_BYTES_MAX = 1_024;
/** Answer field by which a gateway says that it passed the request on to nobody. */
export const REFUSED_FIELD = "x-mesh-refused";
/** The answer is a gateway's own, for a failure of this kind: an endpoint may have acted on the request. */
export const FAILED_FIELD = "x-mesh-failed";
/** Of the retries that came with the request, those that its gateway has left: said where it has spent some. */
export const LEFT_FIELD = "x-mesh-retries";
/** Of a request: the way to its client's seat, from the next gateway on. Of an answer: who has served. */
export const SESSION_FIELD = "x-mesh-session";
/** Of a request: which way it goes is to be told. Of an answer: which way it went. */
export const TRACE_FIELD = "x-mesh-debug";
/** In place of a seat: there is none yet. */
const NEW_SEAT = "new";

/** What travels with a request from gateway to gateway. */
export interface Hop {
  /** The service that the first gateway chose; undefined at the first hop. */
  readonly service: ServiceName | undefined;
  readonly within: ClusterName | undefined;
  /** Clusters passed through, oldest first. */
  readonly path: readonly ClusterName[];
  /** Clusters that have failed it on its way, or refused it: asked again only if nobody else is left. `HOPS_MAX` at most. */
  readonly avoid: readonly ClusterName[];
  /** What remains of the request's time, ms; undefined: not limited so far. */
  readonly deadlineMs: number | undefined;
  /** Retries that may still be spent on it. */
  readonly retries: number;
  /** What the first hop found; undefined: nothing was said. */
  readonly priority: Priority | undefined;
  /** SPIFFE id of the workload that called, then of the gateways that vouch for it; "" if unknown. */
  readonly caller: string;
  /** Of a service with replicas: `write`, or how old what it reads may be, ms; undefined: nothing was said. */
  readonly data: "write" | Millis | undefined;
  /** Of a write: in which epoch of its service it was sent. */
  readonly epoch: number | undefined;
  /** The client's seat from here on, "" for a new one; undefined: it has no session. */
  readonly session: string | undefined;
  /** Somebody who may has asked which way it goes. */
  readonly debug: boolean;
}

/** Of a request that comes from no proxy of the mesh. */
export const FIRST_HOP: Hop = {
  service: undefined,
  within: undefined,
  path: [],
  avoid: [],
  deadlineMs: undefined,
  retries: RETRIES_DEFAULT,
  priority: undefined,
  caller: "",
  data: undefined,
  epoch: undefined,
  session: undefined,
  debug: false,
};

const ALL = [
  ...(["service", "within", "path", "deadline", "retries", "priority", "caller"] as const),
  ...(["avoid", "data", "epoch", "session", "debug"] as const),
];
type HopField = (typeof ALL)[number];

/** Who may set which field of a hop. What is not listed is removed unread: default deny. */
const TRUSTED: Readonly<Record<Peer["kind"], readonly HopField[]>> = {
  gateway: ALL,
  // A proxy of our own cluster names the service it wants; nothing that others must believe.
  workload: ["service", "within", "deadline", "retries", "priority", "session"],
  control: [],
  anonymous: [],
};

/**
 * Reads the `x-mesh-*` fields of a request and removes every one of them from `fields`, so that none
 * passes on that we did not write. Fields that the peer may not set are ignored; malformed ones from a
 * peer that may are refused.
 */
export function readHop(
  fields: Fields,
  peer: Peer,
  self: ClusterName,
  mesh: MeshName,
): Result<Hop, Failure> {
  const first = firstMeshField(fields);
  if (first < 0) return peer.kind === "workload" ? ok(firstHopOf(peer.id)) : ok(FIRST_HOP);
  const said = takeFields(fields, first, TRUSTED[peer.kind]);
  if (said === undefined) return err(failure("bad_request", "an x-mesh field came twice"));
  if (peer.kind === "anonymous") return ok(FIRST_HOP);
  const hop = parseHop(said);
  if (typeof hop === "string") return err(failure("bad_request", hop));
  if (peer.kind === "workload") {
    const retries = Math.min(hop.retries, RETRIES_DEFAULT);
    return ok({ ...hop, retries, caller: peer.id });
  }
  if (peer.kind !== "gateway") return ok(FIRST_HOP);
  const { path } = hop;
  if (path.length >= HOPS_MAX) return err(failure("loop", `${path.length} hops`));
  // Our own gateway hands on, to a sidecar, the path by which the request came to it.
  if (peer.cluster !== self && path.at(-1) !== peer.cluster) {
    return err(failure("forbidden", `${peer.id} is not the last of the path it gives`));
  }
  if (!mayVouch(peer.cluster, hop.caller, self, mesh)) {
    return err(failure("forbidden", `${peer.id} may not speak for ${hop.caller}`));
  }
  return ok({ ...hop, caller: hop.caller === "" ? "" : `${hop.caller},${peer.id}` });
}

function firstHopOf(caller: string): Hop {
  return { ...FIRST_HOP, caller };
}

/**
 * A gateway speaks for callers of its own subtree. One above us relays callers of the rest of the mesh,
 * but never of our own names (reference: identity, §7.3).
 */
function mayVouch(
  gateway: ClusterName,
  caller: string,
  self: ClusterName,
  mesh: MeshName,
): boolean {
  if (caller === "") return true;
  const id = caller.split(",", 1)[0]!;
  const match = /^spiffe:\/\/([a-z0-9.-]+)\//.exec(id);
  if (match === null) return false;
  const cluster = match[1]!;
  if (isWithin(cluster, gateway)) return true;
  const isAncestor = lineage(self, mesh).includes(gateway) || gateway === coreOf(mesh);
  return isAncestor && !isWithin(cluster, self) && isWithin(cluster, mesh);
}

type Said = Partial<Record<HopField, string>>;

/** Removes all `x-mesh-*`, keeps what is `trusted`; undefined if a trusted one came twice. */
function takeFields(fields: Fields, from: number, trusted: readonly HopField[]): Said | undefined {
  const said: Said = {};
  let twice = false;
  let kept = from;
  for (let i = from; i < fields.length; i += 2) {
    const name = fields[i]!;
    if (!isMeshField(name)) {
      fields[kept++] = name;
      fields[kept++] = fields[i + 1]!;
      continue;
    }
    const field = name.slice("x-mesh-".length) as HopField;
    if (!trusted.includes(field)) continue;
    twice ||= said[field] !== undefined;
    said[field] = fields[i + 1]!;
  }
  fields.length = kept;
  return twice ? undefined : said;
}

function parseHop(said: Said): Hop | string {
  const service = said.service === undefined ? undefined : parseServiceName(said.service);
  if (service?.ok === false) return service.error;
  const within = said.within === undefined ? undefined : parseClusterName(said.within);
  if (within?.ok === false) return within.error;
  const path = parseClusters(said.path, HOPS_MAX + 1);
  if (typeof path === "string") return path;
  const avoid = parseClusters(said.avoid, HOPS_MAX);
  if (typeof avoid === "string") return avoid;
  const deadlineMs = parseCount(said.deadline, 86_400_000);
  const retries = parseCount(said.retries, RETRIES_MAX);
  if (deadlineMs === null || retries === null)
    return "x-mesh-deadline or x-mesh-retries is no count";
  const priority = PRIORITIES.find((one) => one === said.priority);
  if (priority === undefined && said.priority !== undefined) return "x-mesh-priority is no class";
  const read = said.data === "write" ? undefined : parseCount(said.data, Number.MAX_SAFE_INTEGER);
  const epoch = parseCount(said.epoch, Number.MAX_SAFE_INTEGER);
  if (read === null || epoch === null) return "x-mesh-data or x-mesh-epoch is no count";
  const session = said.session === NEW_SEAT ? "" : said.session;
  if (session !== undefined && session !== "" && !isSeat(session))
    return "x-mesh-session is no seat";
  const caller = said.caller ?? "";
  if (caller.length > CALLER_BYTES_MAX) return "x-mesh-caller is too long";
  return {
    service: service?.value,
    within: within?.value,
    path,
    avoid,
    deadlineMs,
    retries: retries ?? RETRIES_DEFAULT,
    priority,
    caller,
    data: said.data === "write" ? said.data : read,
    epoch,
    session,
    debug: said.debug !== undefined,
  };
}

/** The first `max` of a list; a text says what is wrong with it. */
function parseClusters(list: string | undefined, max: number): readonly ClusterName[] | string {
  if (list === undefined) return NO_CLUSTERS;
  const clusters: ClusterName[] = [];
  for (const name of list.split(",", max)) {
    const cluster = parseClusterName(name);
    if (!cluster.ok) return cluster.error;
    clusters.push(cluster.value);
  }
  return clusters;
}

const NO_CLUSTERS: readonly ClusterName[] = [];

/** Undefined if absent, null if malformed. */
function parseCount(text: string | undefined, max: number): number | undefined | null {
  if (text === undefined) return undefined;
  if (!/^[0-9]{1,15}$/.test(text)) return null;
  return Math.min(Number(text), max);
}

/** Writes `hop` for the next proxy. `hop.path` as it stands after this one. */
export function writeHop(fields: Fields, hop: Hop): void {
  if (hop.service !== undefined) fields.push("x-mesh-service", hop.service);
  if (hop.within !== undefined) fields.push("x-mesh-within", hop.within);
  if (hop.path.length > 0) fields.push("x-mesh-path", hop.path.join(","));
  if (hop.avoid.length > 0) fields.push("x-mesh-avoid", hop.avoid.join(","));
  if (hop.deadlineMs !== undefined) fields.push("x-mesh-deadline", String(hop.deadlineMs));
  fields.push("x-mesh-retries", String(hop.retries));
  if (hop.priority !== undefined) fields.push("x-mesh-priority", hop.priority);
  if (hop.caller !== "") fields.push("x-mesh-caller", hop.caller);
  if (hop.data !== undefined) fields.push("x-mesh-data", String(hop.data));
  if (hop.epoch !== undefined) fields.push("x-mesh-epoch", String(hop.epoch));
  if (hop.session !== undefined)
    fields.push(SESSION_FIELD, hop.session === "" ? NEW_SEAT : hop.session);
  if (hop.debug) fields.push(TRACE_FIELD, "route");
}

/** What a gateway says with an answer, in fields that go no further. `refused`, `failed`: kinds of failure of its own. */
export interface GatewaySaid {
  readonly refused: string | undefined;
  readonly failed: string | undefined;
  /** Of the retries that it was given, those that it has left; undefined: all. */
  readonly retries: number | undefined;
  /** Who has served, as that gateway knows it: the seat from there on. */
  readonly session: string | undefined;
  /** Which way it went from there on. */
  readonly trace: string | undefined;
}

/** Removes every `x-mesh-*` field of an answer. Returns what they said; undefined: there was none. */
export function stripHop(fields: Fields): GatewaySaid | undefined {
  const first = firstMeshField(fields);
  if (first < 0) return undefined;
  let refused: string | undefined;
  let failed: string | undefined;
  let retries: number | undefined;
  let session: string | undefined;
  let trace: string | undefined;
  let kept = first;
  for (let i = first; i < fields.length; i += 2) {
    const name = fields[i]!;
    if (name === REFUSED_FIELD) refused = fields[i + 1];
    else if (name === FAILED_FIELD) failed = fields[i + 1];
    else if (name === LEFT_FIELD) retries = parseCount(fields[i + 1], RETRIES_MAX) ?? 0;
    else if (name === SESSION_FIELD) session = fields[i + 1];
    else if (name === TRACE_FIELD) trace = fields[i + 1];
    if (isMeshField(name)) continue;
    fields[kept++] = name;
    fields[kept++] = fields[i + 1]!;
  }
  fields.length = kept;
  return { refused, failed, retries, session, trace };
}

function firstMeshField(fields: Fields): number {
  for (let i = 0; i < fields.length; i += 2) {
    if (isMeshField(fields[i]!)) return i;
  }
  return -1;
}

function isMeshField(name: string): boolean {
  // "x" and "m" first: almost every other name fails here.
  return name.charCodeAt(0) === 120 && name.charCodeAt(2) === 109 && name.startsWith("x-mesh-");
}
