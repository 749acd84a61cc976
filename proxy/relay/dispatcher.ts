import type { Result } from "#kernel/result.ts";
import { err, ok } from "#kernel/result.ts";
import type { ClusterName, MeshName, ServiceName } from "#model/names.ts";
import { setForwarding } from "#proxy/authorize/forwarding.ts";
import { type Hop, readHop } from "#proxy/authorize/hop.ts";
import type { Exchange, Handler } from "#proxy/exchange/exchange.ts";
import { type Failure, failure } from "#proxy/exchange/failure.ts";
import type { ServiceStats } from "#proxy/observe/service_stats.ts";
import { answerFailure } from "#proxy/relay/failure_answer.ts";
import type { RelayPlan, RelayPorts, ServiceRuntime } from "#proxy/relay/plan.ts";
import { Relay } from "#proxy/relay/relay.ts";
import { requestDeadline } from "#proxy/retry/deadline.ts";
import { chooseBackend } from "#proxy/route/backend.ts";
import type { RouteTable } from "#proxy/route/table.ts";

/** Asked of a gateway by its own name: answered by itself, for the probes of its peers. */
export const PING_TARGET = "/ping";

/** The tables of one snapshot, as the dispatcher reads them. Swapped whole. */
export interface Tables {
  readonly mesh: MeshName;
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
    const plan = this.#plan(tables, exchange, hop.value);
    if (plan.ok) new Relay(this.#ports, exchange, plan.value).start();
    else this.#refuse(exchange, plan.error);
  }

  #plan(tables: Tables, exchange: Exchange, hop: Hop): Result<RelayPlan, Failure> {
    const { listener, head, peer } = exchange;
    const foreign = peer.kind === "gateway" && peer.cluster !== this.#ports.self;
    if (hop.service !== undefined) {
      return this.#planFor(tables, { name: hop.service, within: hop.within, hop, foreign });
    }
    const match = tables.routes.match(listener, head.authority, head.target);
    if (match === undefined) {
      return err(failure("no_route", `${head.authority} ${head.target}`));
    }
    if (match.kind === "address") {
      return this.#planFor(tables, { name: match.service, within: match.within, hop, foreign });
    }
    const backend = chooseBackend(match.rule, this.#ports.rng);
    if (backend === undefined) {
      return err(failure("no_candidate", `route ${match.route.name} has no backend`));
    }
    return this.#planFor(tables, {
      name: backend.service,
      within: undefined,
      hop,
      foreign,
      requestTimeoutMs: match.rule.requestTimeoutMs,
      tryTimeoutMs: match.rule.backendTimeoutMs,
    });
  }

  #planFor(
    tables: Tables,
    wanted: {
      name: ServiceName;
      within: ClusterName | undefined;
      hop: Hop;
      foreign: boolean;
      requestTimeoutMs?: number | undefined;
      tryTimeoutMs?: number | undefined;
    },
  ): Result<RelayPlan, Failure> {
    const service = tables.services.get(wanted.name);
    if (service === undefined) {
      return err(failure("no_candidate", `service ${wanted.name} is not known here`));
    }
    return ok({
      service,
      hop: wanted.hop,
      within: wanted.within,
      foreign: wanted.foreign,
      deadlineMs: requestDeadline(wanted.requestTimeoutMs, wanted.hop.deadlineMs),
      deadlineCoversBody: wanted.requestTimeoutMs !== undefined,
      tryTimeoutMs: wanted.tryTimeoutMs ?? 0,
    });
  }

  #refuse(exchange: Exchange, reason: Failure): void {
    this.#unrouted.failed(reason.kind);
    answerFailure(exchange, reason, { self: this.#ports.self, untouched: true });
  }
}

function pong(exchange: Exchange): void {
  exchange.answer({ status: 204, reason: "", fields: [], body: 0 });
  exchange.answerEnd(undefined);
}
