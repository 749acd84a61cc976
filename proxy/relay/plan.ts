import type { Millis } from "#kernel/brand.ts";
import type { Clock } from "#kernel/clock.ts";
import type { Rng } from "#kernel/rng.ts";
import type { TimerWheel } from "#kernel/timer_wheel.ts";
import type { ClusterName, ServiceName } from "#model/names.ts";
import type { Service } from "#model/snapshot.ts";
import type { Priority } from "#model/traffic_policy.ts";
import type { Admission } from "#proxy/admit/admission.ts";
import type { Hop } from "#proxy/authorize/hop.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import type { DataNeed, PickConstraint } from "#proxy/balance/pick_constraint.ts";
import type { ServiceBalancer } from "#proxy/balance/service_balancer.ts";
import type { Fields, RequestHead } from "#proxy/exchange/exchange.ts";
import type { Seal } from "#proxy/filter/session.ts";
import type { AccessLog } from "#proxy/observe/access_log.ts";
import type { ServiceStats } from "#proxy/observe/service_stats.ts";
import type { RetryBudget } from "#proxy/retry/budget.ts";
import type { HedgeDelay } from "#proxy/retry/hedge_delay.ts";
import type { LostWays } from "#proxy/retry/lost_ways.ts";
import type { RetryPolicy } from "#proxy/route/rule.ts";
import type { RawUpstreams, Upstreams } from "#proxy/upstream/upstreams.ts";

/** What one service needs at run time. Replaced as a whole by each snapshot, state carried over. */
export interface ServiceRuntime {
  readonly name: ServiceName;
  /** Takes connections as they are, not requests. */
  readonly raw: boolean;
  /** Its endpoints speak HTTP/2, and gRPC if they are asked so. */
  readonly http2: boolean;
  readonly proxyProtocol: Service["proxyProtocol"];
  readonly balancer: ServiceBalancer;
  readonly admission: Admission;
  readonly budget: RetryBudget;
  readonly lostWays: LostWays<EndpointState>;
  /** When a second try begins; undefined: never. */
  readonly hedging: HedgeDelay | undefined;
  readonly stats: ServiceStats;
}

/** What was decided about a request before its first try. */
export interface RelayPlan {
  readonly service: ServiceRuntime;
  /** What endpoints are asked: as the client asked, or a connection in place of its CONNECT. */
  readonly head: RequestHead;
  /** What the hop before us said, or a first hop's defaults. */
  readonly hop: Hop;
  /** Who goes first where not all can be served. */
  readonly priority: Priority;
  /** The subtree that must serve it; undefined: any. */
  readonly within: ClusterName | undefined;
  /** It came from another cluster. */
  readonly foreign: boolean;
  /** A gateway has sent it: what endpoints say of their load is passed on to it. */
  readonly forGateway: boolean;
  /** Of what the service's policy hashes on; undefined: nothing. */
  readonly hash: number | undefined;
  /** From now; 0: none. */
  readonly deadlineMs: Millis;
  /** True: the deadline holds to the end of the answer; false: to the answer's head. */
  readonly deadlineCoversBody: boolean;
  /** It is a call of gRPC: its status is in its trailers. */
  readonly isCall: boolean;
  /** The client has said its own deadline, and endpoints are told what remains of it (`grpc-timeout`). */
  readonly tellsDeadline: boolean;
  /** To the head of one try's answer; 0: none. */
  readonly tryTimeoutMs: Millis;
  /** What its route says of retries; undefined: nothing. */
  readonly retry: RetryPolicy | undefined;
  /** Endpoint that the client's session names; undefined: it has none, or a new one. */
  readonly session: string | undefined;
  /** The way from that one on, "" if it ends or begins there; undefined: there is no session. */
  readonly sessionRest: string | undefined;
  /** Of a service with replicas: which of them may serve it. */
  readonly data: DataNeed | undefined;
  /** Changes the head of the answer that goes to the client. */
  readonly editAnswer: AnswerEdit | undefined;
  /** Whoever asks may know which way it goes, and has asked. */
  readonly debug: boolean;
  /** Services that get a copy. */
  readonly mirrors: readonly ServiceRuntime[];
}

/** @param seat of who has answered, from here on; undefined: we did. */
export type AnswerEdit = (fields: Fields, seat: string | undefined) => void;

/** Effects that a relay may have. */
export interface RelayPorts {
  readonly self: ClusterName;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly rng: Rng;
  readonly upstreams: Upstreams;
  readonly raw: RawUpstreams;
  /** Absent: there are no sessions. */
  readonly seal?: Seal | undefined;
  /** Undefined: nothing is written down. */
  readonly accessLog?: AccessLog | undefined;
}

/**
 * What a plan asks of a place.
 * @param tried endpoints that have failed the request.
 * @param unbound pins and splits have had their chance.
 */
export function constraintOf(
  plan: RelayPlan,
  tried: readonly EndpointState[],
  unbound = false,
): PickConstraint {
  const { hop, within, foreign, session, priority, hash, data } = plan;
  return {
    ...{ visited: hop.path, avoid: hop.avoid, tried, within },
    ...{ foreign, session, priority, hash, data, unbound },
  };
}
