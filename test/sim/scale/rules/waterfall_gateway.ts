import type { Millis } from "#kernel/brand.ts";
import type { Rng } from "#kernel/rng.ts";
import type { ClusterName } from "#model/names.ts";
import type { Service } from "#model/snapshot.ts";
import type { EndpointState, Outcome } from "#proxy/balance/endpoint_state.ts";
import { type BalancerPlace, ServiceBalancer } from "#proxy/balance/service_balancer.ts";
import type { Ask, Rule } from "#test/sim/scale/rule.ts";
import type { Place } from "#test/sim/scale/topology.ts";

/** Our rule: the production balancer of one cluster's gateway. */
export class WaterfallGateway implements Rule<EndpointState> {
  readonly place: Place;
  readonly #where: BalancerPlace;
  balancer: ServiceBalancer;
  readonly #nameOf: (cluster: number) => ClusterName;
  readonly #rng: Rng;
  /** This gateway's clock reads that much more than the others': nothing may depend on it. */
  readonly #skewMs: Millis;
  readonly #rtts = new Map<ClusterName, Millis | undefined>();

  constructor(about: {
    readonly place: Place;
    readonly service: Service;
    readonly nameOf: (cluster: number) => ClusterName;
    readonly rng: Rng;
    readonly skewMs: Millis;
  }) {
    this.place = about.place;
    this.#nameOf = about.nameOf;
    this.#rng = about.rng;
    this.#skewMs = about.skewMs;
    this.#where = { self: this.place.name, workers: 1 };
    this.balancer = new ServiceBalancer(about.service, this.#where, this.#skewMs);
  }

  /** A new snapshot has come. */
  use(service: Service, now: Millis): void {
    const at = now + this.#skewMs;
    const known = new Set(this.balancer.locales.map(({ cluster }) => cluster));
    this.balancer = new ServiceBalancer(service, this.#where, at, this.balancer);
    for (const { cluster } of this.balancer.locales) {
      if (known.has(cluster) || !this.#rtts.has(cluster)) continue;
      this.balancer.linkRtt(cluster, this.#rtts.get(cluster), at);
    }
  }

  linkRtt(cluster: number, rttMs: Millis | undefined, now: Millis): void {
    const name = this.#nameOf(cluster);
    this.#rtts.set(name, rttMs);
    this.balancer.linkRtt(name, rttMs, now + this.#skewMs);
  }

  pick({ visited, tried }: Ask<EndpointState>, now: Millis): EndpointState | undefined {
    const constraint = {
      visited: visited.length === 0 ? NOWHERE : visited.map(this.#nameOf),
      tried,
      within: undefined,
      foreign: visited.length > 0,
    };
    return this.balancer.pick(constraint, now + this.#skewMs, this.#rng);
  }

  idOf({ endpoint }: EndpointState): number {
    // The simulated network has numbers for addresses.
    return Number(endpoint.address);
  }

  started(handle: EndpointState, now: Millis): void {
    this.balancer.started(handle, now + this.#skewMs);
  }

  finished(handle: EndpointState, outcome: Outcome, latencyMs: Millis, now: Millis): void {
    this.balancer.finished(handle, outcome, latencyMs, now + this.#skewMs);
  }

  /** For the cluster's summary. */
  report(now: Millis): { readonly healthy: number; readonly p50Ms: Millis | undefined } {
    return this.balancer.localHealth(now + this.#skewMs);
  }
}

const NOWHERE: readonly ClusterName[] = [];
