import type { Clock } from "#kernel/clock.ts";
import type { Result } from "#kernel/result.ts";
import { err, ok } from "#kernel/result.ts";
import type { ClusterName, MeshName, ServiceName } from "#model/names.ts";
import type { RouteRule } from "#model/snapshot.ts";
import { priorityOf } from "#proxy/admit/priority.ts";
import { markSource, setForwarding } from "#proxy/authorize/forwarding.ts";
import { FIRST_HOP, type Hop, readHop } from "#proxy/authorize/hop.ts";
import { hashOf } from "#proxy/balance/request_hash.ts";
import {
  type AnswerHead,
  type Exchange,
  type Handler,
  type RequestHead,
  TCP_UPGRADE,
} from "#proxy/exchange/exchange.ts";
import { FAILURES, type Failure, failure } from "#proxy/exchange/failure.ts";
import { fieldValue } from "#proxy/exchange/fields.ts";
import { grpcTimeout, isGrpc } from "#proxy/exchange/grpc.ts";
import { asGrpc } from "#proxy/filter/grpc_web.ts";
import { translated } from "#proxy/filter/grpc_web_exchange.ts";
import { splitSeat } from "#proxy/filter/session.ts";
import { AccessEntry } from "#proxy/observe/access_entry.ts";
import type { ServiceStats } from "#proxy/observe/service_stats.ts";
import { TraceIds } from "#proxy/observe/trace_ids.ts";
import { chooseServing } from "#proxy/relay/choose_backend.ts";
import { dataNeedOf, epochProblem, removeDataFields, saysRead } from "#proxy/relay/data_need.ts";
import { answerFailure } from "#proxy/relay/failure_answer.ts";
import { followRule, isPlain } from "#proxy/relay/follow_rule.ts";
import { countForward } from "#proxy/relay/max_forwards.ts";
import type { AnswerEdit, RelayPlan, RelayPorts, ServiceRuntime } from "#proxy/relay/plan.ts";
import { Relay } from "#proxy/relay/relay.ts";
import { ASK_FIELD } from "#proxy/relay/route_trace.ts";
import { requestDeadline } from "#proxy/retry/deadline.ts";
import { chooseBackend } from "#proxy/route/backend.ts";
import { covers, hostOf } from "#proxy/route/host.ts";
import { type CompiledRule, type RetryPolicy, titleOf, type Weighted } from "#proxy/route/rule.ts";
import type { StreamRouteTable } from "#proxy/route/streams.ts";
import type { RouteTable } from "#proxy/route/table.ts";

/** The tables of one snapshot, as the dispatcher reads them. Swapped whole. */
export interface Tables {
  readonly mesh: MeshName;
  /** The cluster that we stand in. */
  readonly self: ClusterName;
  readonly routes: RouteTable;
  readonly streams: StreamRouteTable;
  readonly services: ReadonlyMap<ServiceName, ServiceRuntime>;
}

/** identify → route → authorize: turns an exchange into a plan and starts its relay. */
export class Dispatcher implements Handler {
  readonly #ports: RelayPorts;
  readonly #unrouted: ServiceStats;
  readonly #ids: TraceIds;
  #tables: Tables | undefined = undefined;

  constructor(ports: RelayPorts, unrouted: ServiceStats) {
    this.#ports = ports;
    this.#ids = new TraceIds(ports.rng);
    this.#unrouted = unrouted;
  }

  /** Requests from now on follow `tables`; running ones keep what they were planned with. */
  use(tables: Tables): void {
    this.#tables = tables;
  }

  onRequest(exchange: Exchange): void {
    const { head, peer, servedHosts } = exchange;
    const tables = this.#tables;
    const { accessLogShare } = exchange.policy;
    const isLogged = accessLogShare !== undefined && this.#ports.accessLog !== undefined;
    if (isLogged) this.#beginEntry(exchange, accessLogShare);
    if (tables === undefined) {
      this.#refuse(exchange, failure("no_candidate", "no configuration yet"));
      return;
    }
    if (exchange.raw) {
      this.#passOn(tables, exchange);
      return;
    }
    if (servedHosts !== undefined && !covers(servedHosts, hostOf(head.authority))) {
      this.#refuse(exchange, failure("misdirected", `${head.authority} over ${servedHosts}`));
      return;
    }
    const hop = readHop(head.fields, peer, this.#ports.self, tables.mesh);
    if (!hop.ok) {
      this.#refuse(exchange, hop.error);
      return;
    }
    if (head.method === "OPTIONS" && !this.#mayPass(exchange)) return;
    setForwarding(exchange, this.#ports.self, this.#ids);
    const plan = this.#route(tables, exchange, hop.value);
    if (plan === undefined) return;
    if (plan.ok) {
      const answered = translated(exchange, plan.value.head, this.#ports.self);
      new Relay(this.#ports, answered, plan.value).start();
    } else this.#refuse(exchange, plan.error);
  }

  /** A connection, not a request: by its port and its server name alone. */
  #passOn(tables: Tables, exchange: Exchange): void {
    const { head, listener, serverName } = exchange;
    const target = tables.streams.match(listener, serverName);
    const backend = target && this.#choose(target, tables);
    if (backend === undefined) {
      const detail = `${listener} ${serverName ?? ""}`;
      this.#refuse(exchange, failure(target === undefined ? "no_route" : "no_candidate", detail));
      return;
    }
    head.authority = backend.service;
    markSource(exchange);
    const plan = this.#plan(tables, exchange, {
      name: backend.service,
      within: undefined,
      hop: FIRST_HOP,
    });
    if (plan.ok) new Relay(this.#ports, exchange, plan.value).start();
    else this.#refuse(exchange, plan.error);
  }

  /** Undefined: the proxy has answered by itself. */
  #route(tables: Tables, exchange: Exchange, hop: Hop): Result<RelayPlan, Failure> | undefined {
    const { listener, head } = exchange;
    if (hop.service !== undefined) {
      return this.#plan(tables, exchange, { name: hop.service, within: hop.within, hop });
    }
    const match = tables.routes.match(listener, head);
    if (match === undefined) {
      const kind = head.method === "CONNECT" ? "method_not_allowed" : "no_route";
      return err(failure(kind, `${head.authority} ${head.target}`));
    }
    if (match.kind === "address") {
      return this.#plan(tables, exchange, { name: match.service, within: match.within, hop });
    }
    const answer = match.filters?.answerFor(head);
    if (answer === undefined) return this.#follow(match, tables, exchange, hop);
    this.#answer(exchange, answer);
    return undefined;
  }

  /** False: the client wanted an answer from no further than here. */
  #mayPass(exchange: Exchange): boolean {
    const verdict = countForward(exchange.head.fields);
    if (verdict === "pass") return true;
    if (verdict === "last") this.#answer(exchange, bare(204));
    else this.#refuse(exchange, failure("bad_request", "Max-Forwards"));
    return false;
  }

  /** By ourselves, without a body. */
  #answer(exchange: Exchange, head: AnswerHead): void {
    this.#unrouted.answered(head.status, 0);
    this.#writeDown(exchange, head.status, undefined);
    exchange.answer(head);
    exchange.answerEnd(undefined);
  }

  #follow(
    match: CompiledRule,
    tables: Tables,
    exchange: Exchange,
    hop: Hop,
  ): Result<RelayPlan, Failure> {
    const backend = this.#choose(match, tables);
    if (backend === undefined) {
      return err(failure("no_candidate", `${titleOf(match.route)} has no backend`));
    }
    const isTunnel = exchange.head.method === "CONNECT";
    const takesBytes = isTunnel && tables.services.get(backend.service)?.raw === true;
    const attempts = match.retry?.attempts;
    const wanted: Wanted = {
      name: backend.service,
      within: undefined,
      hop: attempts === undefined ? hop : { ...hop, retries: attempts },
      rule: match.rule,
      retry: match.retry,
      connection: takesBytes ? connectionFor(exchange, backend.service) : undefined,
    };
    if (match.filters === undefined && match.persistence === undefined && isPlain(backend)) {
      return this.#plan(tables, exchange, wanted);
    }
    // Its route may say so, but no client.
    const { replication } = tables.services.get(backend.service)?.balancer.service ?? {};
    if (replication !== undefined) removeDataFields(exchange.head.fields);
    const special = followRule(match, backend, exchange, this.#ports);
    const mirrors = special.mirrors.flatMap(({ service }) => tables.services.get(service) ?? []);
    const reads = replication !== undefined && saysRead(exchange.head.fields);
    return this.#plan(tables, exchange, { ...wanted, ...special, mirrors, reads });
  }

  #choose<T extends Weighted & { readonly service: ServiceName }>(
    { backends, totalWeight }: { readonly backends: readonly T[]; readonly totalWeight: number },
    { services }: Tables,
  ): T | undefined {
    const { clock, rng } = this.#ports;
    if (backends.length === 1) return chooseBackend(backends, totalWeight, rng);
    return chooseServing({ backends, totalWeight, services }, clock.now(), rng);
  }

  #plan(tables: Tables, exchange: Exchange, wanted: Wanted): Result<RelayPlan, Failure> {
    return planFor(tables, exchange, wanted, this.#ports.clock);
  }

  #beginEntry(exchange: Exchange, share: number): void {
    const { rng, clock } = this.#ports;
    exchange.log ??= new AccessEntry(exchange);
    exchange.log.begin(rng.next() < share, clock.now());
  }

  /** Of a request that no relay has had. */
  #writeDown({ log }: Exchange, status: number, reason: Failure | undefined): void {
    if (log === undefined) return;
    log.status = status;
    log.failure = reason;
    log.end(this.#ports.accessLog, this.#ports.clock);
  }

  #refuse(exchange: Exchange, reason: Failure): void {
    this.#unrouted.failed(reason.kind);
    this.#unrouted.answered(FAILURES[reason.kind].status, 0);
    this.#writeDown(exchange, FAILURES[reason.kind].status, reason);
    answerFailure(exchange, reason, { self: this.#ports.self, untouched: true });
  }
}

/** What asks for a connection, where a route gives a client's CONNECT to a service that takes those. */
function connectionFor({ peer }: Exchange, service: ServiceName): RequestHead {
  const head = {
    method: "GET",
    target: "/",
    authority: service,
    fields: [],
    body: 0,
    upgrade: TCP_UPGRADE,
    takesTrailers: false,
  };
  markSource({ head, peer });
  return head;
}

interface Wanted {
  readonly name: ServiceName;
  /** In place of the client's head. */
  readonly connection?: RequestHead | undefined;
  readonly within: ClusterName | undefined;
  readonly hop: Hop;
  readonly rule?: RouteRule;
  readonly retry?: RetryPolicy | undefined;
  /** The client's seat, "" for a new one. */
  readonly seat?: string | undefined;
  /** Its route says that it only reads. */
  readonly reads?: boolean;
  readonly editAnswer?: AnswerEdit | undefined;
  readonly mirrors?: readonly ServiceRuntime[];
}

function planFor(
  tables: Tables,
  exchange: Exchange,
  wanted: Wanted,
  clock: Clock,
): Result<RelayPlan, Failure> {
  const { peer } = exchange;
  const { name, within, hop, rule, connection } = wanted;
  const service = tables.services.get(name);
  if (service === undefined) {
    return err(failure("no_candidate", `service ${name} is not known here`));
  }
  if (service.raw !== (connection !== undefined || asksForConnection(exchange))) {
    const kind = service.raw ? "connections" : "requests";
    return err(failure("forbidden", `service ${name} takes ${kind}`));
  }
  const head = service.http2 ? asGrpc(exchange.head) : exchange.head;
  const hashOn = service.balancer.service.policy?.balance?.hashOn;
  // Calls have a body: others need not be looked at.
  const isCall = head.body !== 0 && isGrpc(head.fields);
  const clientMs = isCall ? grpcTimeout(head.fields) : undefined;
  const { replication } = service.balancer.service;
  const stale =
    replication && hop.data === "write" && epochProblem(replication, hop.epoch, tables.self);
  if (stale) return err(failure("not_primary", stale));
  const data =
    replication &&
    dataNeedOf(replication, connection ?? head, {
      hop,
      reads: wanted.reads === true,
      raw: service.raw,
      wall: clock.wall(),
    });
  const seat = wanted.seat ?? hop.session;
  const { step, rest } = seat === undefined ? NO_SESSION : splitSeat(seat);
  return ok({
    service,
    head: connection ?? head,
    hop,
    priority: priorityOf(service.balancer.service.policy?.priority, hop, head.fields),
    within,
    foreign: peer.kind === "gateway" && peer.cluster !== tables.self,
    forGateway: peer.kind === "gateway",
    hash: hashOn && hashOf(hashOn, { head, peer, caller: hop.caller }),
    deadlineMs: requestDeadline(rule?.requestTimeoutMs, hop.deadlineMs, clientMs),
    deadlineCoversBody: rule?.requestTimeoutMs !== undefined || clientMs !== undefined,
    isCall,
    tellsDeadline: clientMs !== undefined,
    tryTimeoutMs: rule?.backendTimeoutMs ?? 0,
    retry: wanted.retry,
    session: step === "" ? undefined : step,
    sessionRest: seat === undefined ? undefined : rest,
    data,
    debug: hop.debug || asksForRoute(exchange),
    editAnswer: wanted.editAnswer,
    mirrors: wanted.mirrors ?? NO_MIRRORS,
  });
}

/** A client's connection, or one that a proxy of the mesh passes on. */
function asksForConnection({ raw, head, peer }: Exchange): boolean {
  if (raw) return true;
  return head.upgrade === TCP_UPGRADE && (peer.kind === "gateway" || peer.kind === "workload");
}

/** Whoever may know which way its request goes wants to. */
function asksForRoute({ policy, peer, head }: Exchange): boolean {
  if (policy.debugFrom === undefined || peer.kind !== "anonymous") return false;
  return policy.debugFrom.has(peer.address) && fieldValue(head.fields, ASK_FIELD) === "route";
}

const NO_SESSION = { step: "", rest: "" };
const NO_MIRRORS: readonly ServiceRuntime[] = [];

function bare(status: number): AnswerHead {
  return { status, reason: "", fields: [], body: 0, upgrade: undefined };
}
