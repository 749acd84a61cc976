import type { Millis } from "#kernel/brand.ts";
import { HOPS_MAX } from "#proxy/authorize/hop.ts";
import type { Outcome } from "#proxy/balance/endpoint_state.ts";
import { FAILURES, type FailureName } from "#proxy/exchange/failure.ts";
import { outcomeAtDeadline, outcomeOf } from "#proxy/relay/outcome.ts";
import { RetryBudget } from "#proxy/retry/budget.ts";
import { mayRetry } from "#proxy/retry/classify.ts";
import type { EventQueue } from "#test/sim/scale/event_queue.ts";
import { type Answer, type ClientRequest, EndpointJob, Hop } from "#test/sim/scale/hop.ts";
import type { Network } from "#test/sim/scale/network.ts";
import { clusterOf, endpointOf, type Rule } from "#test/sim/scale/rule.ts";
import type { Station } from "#test/sim/scale/station.ts";

/** As the relay has it, if a route says nothing else. */
const RETRIES = 3;
const POISON_MS = 1;

/** What the walk tells of each request. */
export interface WalkObserver {
  over(request: ClientRequest, answer: Answer | "deadline"): void;
}

interface Gateway {
  readonly rule: Rule<unknown>;
  readonly budget: RetryBudget;
  /** Tries that run at other clusters' gateways. */
  readonly away: Set<Hop>;
}

/** Carries requests through gateways and to endpoints, tries again as `proxy/relay` does, whatever the rule. */
export class Gateways {
  readonly #queue: EventQueue;
  readonly #network: Network;
  readonly #stations: readonly (readonly Station[])[];
  readonly #gateways: readonly Gateway[];
  readonly #observer: WalkObserver;
  /** Requests in the order of their deadlines: all have the same time. */
  readonly #open: ClientRequest[] = [];
  #oldest = 0;

  constructor(about: {
    readonly queue: EventQueue;
    readonly network: Network;
    readonly stations: readonly (readonly Station[])[];
    readonly rules: readonly Rule<unknown>[];
    readonly observer: WalkObserver;
  }) {
    this.#queue = about.queue;
    this.#network = about.network;
    this.#stations = about.stations;
    this.#observer = about.observer;
    this.#gateways = about.rules.map((rule) => ({
      rule,
      budget: new RetryBudget(0),
      away: new Set(),
    }));
  }

  /** A client's request reaches the gateway of its own cluster. */
  begin(request: ClientRequest): void {
    if (this.#open.length === this.#oldest) this.#watch(request);
    this.#open.push(request);
    this.#arrive(
      new Hop(request, request.at, { visited: [], caller: undefined, retries: RETRIES }),
    );
  }

  /** A link has stopped answering probes: whatever runs on it fails now. */
  sever(from: number, to: number): void {
    for (const hop of [...this.#gateways[from]!.away]) {
      if (hop.target === to) this.#tryFailed(hop, "link_down");
    }
  }

  #watch(first: ClientRequest): void {
    this.#queue.at(first.deadlineAt, () => {
      const open = this.#open;
      for (let next = open[this.#oldest]; next !== undefined; next = open[this.#oldest]) {
        if (next.isOver) this.#oldest++;
        else if (next.deadlineAt <= this.#queue.now) {
          this.#oldest++;
          this.#timeOut(next);
        } else break;
      }
      if (this.#oldest > 10_000) {
        open.splice(0, this.#oldest);
        this.#oldest = 0;
      }
      const next = open[this.#oldest];
      if (next !== undefined) this.#watch(next);
    });
  }

  #timeOut(request: ClientRequest): void {
    this.#end(request, "deadline");
    for (const hop of request.hops) {
      if (hop.handle !== undefined) this.#endTry(hop, outcomeAtDeadline("begun"));
    }
  }

  #end(request: ClientRequest, how: Answer | "deadline"): void {
    request.isOver = true;
    this.#observer.over(request, how);
  }

  #arrive(hop: Hop): void {
    const { now } = this.#queue;
    const gateway = this.#gateways[hop.at]!;
    if (hop.visited.length >= HOPS_MAX) {
      this.#answer(hop, "refused");
      return;
    }
    gateway.budget.deposit(now);
    const first = gateway.rule.pick({ visited: hop.visited, tried: hop.tried }, now);
    if (first === undefined) this.#answer(hop, "refused");
    else this.#try(hop, first);
  }

  #try(hop: Hop, handle: unknown): void {
    const { now } = this.#queue;
    const gateway = this.#gateways[hop.at]!;
    hop.handle = handle;
    hop.attempt++;
    hop.tryStartedAt = now;
    gateway.rule.started(handle, now);
    const id = gateway.rule.idOf(handle);
    const endpoint = endpointOf(id);
    hop.target = clusterOf(id);
    if (endpoint === undefined) this.#sendOn(hop, gateway);
    else this.#serve(hop, this.#stations[hop.target]![endpoint]!);
  }

  #sendOn(hop: Hop, gateway: Gateway): void {
    const { request, at, target, attempt } = hop;
    if (this.#network.topology.isPaid(at, target)) request.paid = true;
    gateway.away.add(hop);
    const ms = this.#network.oneWay(at, target);
    if (ms === undefined) return;
    const about = {
      visited: [...hop.visited, at],
      caller: { hop, attempt },
      retries: hop.retriesLeft,
    };
    this.#queue.after(ms, () => {
      if (!request.isOver && hop.attempt === attempt) this.#arrive(new Hop(request, target, about));
    });
  }

  #serve(hop: Hop, station: Station): void {
    const { attempt, request } = hop;
    const there = this.#network.oneWay(hop.at, hop.at)!;
    const later = (ms: Millis, what: () => void): void =>
      this.#queue.after(ms, () => {
        if (!request.isOver && hop.attempt === attempt) what();
      });
    later(there, () => {
      if (station.mode === "dead") {
        later(there, () => this.#tryFailed(hop, "connect_refused"));
        return;
      }
      if (station.mode === "poisoned") {
        later(POISON_MS, () => this.#answered(hop, "error"));
        return;
      }
      station.enter(
        new EndpointJob(hop, () => {
          if (station.mode === "dead") this.#tryFailed(hop, "closed_early");
          else later(there, () => this.#answered(hop, "ok"));
        }),
      );
    });
  }

  /** The running try of `hop` is answered. */
  #answered(hop: Hop, answer: Answer): void {
    if (answer === "refused") this.#tryFailed(hop, "refused_by_gateway");
    else if (answer === "unavailable") {
      hop.touched = true;
      this.#again(hop, "failed", "retryable_status");
    } else {
      this.#endTry(hop, answer === "ok" ? "ok" : "failed");
      this.#answer(hop, answer);
    }
  }

  #tryFailed(hop: Hop, kind: FailureName): void {
    if (FAILURES[kind].retry !== "always") hop.touched = true;
    this.#again(hop, outcomeOf(kind), kind);
  }

  #again(hop: Hop, outcome: Outcome, kind: FailureName): void {
    const { now } = this.#queue;
    const { rule, budget } = this.#gateways[hop.at]!;
    const failed = hop.handle;
    this.#endTry(hop, outcome);
    let next: unknown;
    if (hop.retriesLeft > 0 && mayRetry(FAILURES[kind].retry, "GET")) {
      hop.tried.push(failed);
      next = rule.pick({ visited: hop.visited, tried: hop.tried }, now);
    }
    // What failed because the way was lost adds no load to anybody: it is not charged.
    const isFree =
      kind === "link_down" ||
      FAILURES[kind].retry === "always" ||
      (kind === "closed_early" && hop.target !== hop.at);
    if (next === undefined || !(isFree || budget.tryWithdraw(now))) {
      this.#answer(hop, hop.touched ? "unavailable" : "refused");
      return;
    }
    hop.retriesLeft--;
    this.#try(hop, next);
  }

  #endTry(hop: Hop, outcome: Outcome): void {
    const { now } = this.#queue;
    const gateway = this.#gateways[hop.at]!;
    const { handle } = hop;
    hop.handle = undefined;
    // Whatever still comes of it is too late.
    hop.attempt++;
    gateway.away.delete(hop);
    gateway.rule.finished(handle, outcome, now - hop.tryStartedAt, now);
  }

  /** `hop` has its answer: on to who waits for it. */
  #answer(hop: Hop, answer: Answer): void {
    const { caller, request } = hop;
    if (caller === undefined) {
      this.#end(request, answer);
      return;
    }
    const ms = this.#network.oneWay(hop.at, caller.hop.at);
    if (ms === undefined) return;
    this.#queue.after(ms, () => {
      if (!request.isOver && caller.hop.attempt === caller.attempt) {
        this.#answered(caller.hop, answer);
      }
    });
  }
}
