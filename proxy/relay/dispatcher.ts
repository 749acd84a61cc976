import type { Result } from "#kernel/result.ts";
import { err, ok } from "#kernel/result.ts";
import type { ClusterName, MeshName, ServiceName } from "#model/names.ts";
import type { RouteRule } from "#model/snapshot.ts";
import { setForwarding } from "#proxy/authorize/forwarding.ts";
import { type Hop, readHop } from "#proxy/authorize/hop.ts";
import type { Exchange, Handler } from "#proxy/exchange/exchange.ts";
import { type Failure, failure } from "#proxy/exchange/failure.ts";
import type { ServiceStats } from "#proxy/observe/service_stats.ts";
import { answerFailure } from "#proxy/relay/failure_answer.ts";
import { followRule, isPlain } from "#proxy/relay/follow_rule.ts";
import type { AnswerEdit, RelayPlan, RelayPorts, ServiceRuntime } from "#proxy/relay/plan.ts";
import { Relay } from "#proxy/relay/relay.ts";
import { requestDeadline } from "#proxy/retry/deadline.ts";
import { chooseBackend } from "#proxy/route/backend.ts";
import type { CompiledRule, RetryPolicy } from "#proxy/route/rule.ts";
import type { RouteTable } from "#proxy/route/table.ts";

/** Asked of a gateway by its own name: answered by itself, for the probes of its peers. */
export const PING_TARGET = "/ping";

/** The tables of one snapshot, as the dispatcher reads them. Swapped whole. */
export interface Tables {
  readonly mesh: MeshName;
  /** The cluster that we stand in. */
  readonly self: ClusterName;
  readonly routes: RouteTable;
  readonly services: ReadonlyMap<ServiceName, ServiceRuntime>;
}

/** identify → route → authorize: turns an exchange into a plan and starts its relay. */
export class Dispatcher implements Handler {
  readonly #ports: RelayPorts;
  readonly #unrouted: ServiceStats;
  #tables: Tables | undefined = undefined;

  constructor(ports: RelayPorts, unrouted: ServiceStats) {
    this.#ports = ports;
    this.#unrouted = unrouted;
  }

  /** Requests from now on follow `tables`; running ones keep what they were planned with. */
  use(tables: Tables): void {
    this.#tables = tables;
  }

  onRequest(exchange: Exchange): void {
    const { head, peer } = exchange;
    const tables = this.#tables;
    if (tables === undefined) {
      this.#refuse(exchange, failure("no_candidate", "no configuration yet"));
      return;
    }
    const hop = readHop(head.fields, peer, this.#ports.self, tables.mesh);
    if (!hop.ok) {
      this.#refuse(exchange, hop.error);
      return;
    }
    if (head.target === PING_TARGET && head.authority === this.#ports.self) {
      pong(exchange);
      return;
    }
    setForwarding(head.fields, peer, head.authority, this.#ports.self);
    const plan = this.#route(tables, exchange, hop.value);
    if (plan === undefined) return;
    if (plan.ok) new Relay(this.#ports, exchange, plan.value).start();
    else this.#refuse(exchange, plan.error);
  }

  /** Undefined: the proxy has answered by itself. */
  #route(tables: Tables, exchange: Exchange, hop: Hop): Result<RelayPlan, Failure> | undefined {
    const { listener, head } = exchange;
    if (hop.service !== undefined) {
      return planFor(tables, exchange, { name: hop.service, within: hop.within, hop });
    }
    const match = tables.routes.match(listener, head);
    if (match === undefined) return err(failure("no_route", `${head.authority} ${head.target}`));
    if (match.kind === "address") {
      return planFor(tables, exchange, { name: match.service, within: match.within, hop });
    }
    const answer = match.filters?.answerFor(head);
    if (answer === undefined) return this.#follow(match, tables, exchange, hop);
    this.#unrouted.answered(answer.status, 0);
    exchange.answer(answer);
    exchange.answerEnd(undefined);
    return undefined;
  }

  #follow(
    match: CompiledRule,
    tables: Tables,
    exchange: Exchange,
    hop: Hop,
  ): Result<RelayPlan, Failure> {
    const backend = chooseBackend(match.backends, match.totalWeight, this.#ports.rng);
    if (backend === undefined) {
      return err(failure("no_candidate", `route ${match.route.name} has no backend`));
    }
    const attempts = match.retry?.attempts;
    const wanted: Wanted = {
      name: backend.service,
      within: undefined,
      hop: attempts === undefined ? hop : { ...hop, retries: attempts },
      rule: match.rule,
      retry: match.retry,
    };
    if (match.filters === undefined && match.persistence === undefined && isPlain(backend)) {
      return planFor(tables, exchange, wanted);
    }
    const special = followRule(match, backend, exchange, this.#ports);
    const mirrors = special.mirrors.flatMap(({ service }) => tables.services.get(service) ?? []);
    return planFor(tables, exchange, { ...wanted, ...special, mirrors });
  }

  #refuse(exchange: Exchange, reason: Failure): void {
    this.#unrouted.failed(reason.kind);
    answerFailure(exchange, reason, { self: this.#ports.self, untouched: true });
  }
}

interface Wanted {
  readonly name: ServiceName;
  readonly within: ClusterName | undefined;
  readonly hop: Hop;
  readonly rule?: RouteRule;
  readonly retry?: RetryPolicy | undefined;
  readonly session?: string | undefined;
  readonly editAnswer?: AnswerEdit | undefined;
  readonly mirrors?: readonly ServiceRuntime[];
}

function planFor(tables: Tables, { peer }: Exchange, wanted: Wanted): Result<RelayPlan, Failure> {
  const { name, within, hop, rule } = wanted;
  const service = tables.services.get(name);
  if (service === undefined) {
    return err(failure("no_candidate", `service ${name} is not known here`));
  }
  return ok({
    service,
    hop,
    within,
    foreign: peer.kind === "gateway" && peer.cluster !== tables.self,
    deadlineMs: requestDeadline(rule?.requestTimeoutMs, hop.deadlineMs),
    deadlineCoversBody: rule?.requestTimeoutMs !== undefined,
    tryTimeoutMs: rule?.backendTimeoutMs ?? 0,
    retry: wanted.retry,
    session: wanted.session,
    editAnswer: wanted.editAnswer,
    mirrors: wanted.mirrors ?? NO_MIRRORS,
  });
}

const NO_MIRRORS: readonly ServiceRuntime[] = [];

function pong(exchange: Exchange): void {
  exchange.answer({ status: 204, reason: "", fields: [], body: 0, upgrade: undefined });
  exchange.answerEnd(undefined);
}
