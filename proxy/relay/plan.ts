import type { Millis } from "#kernel/brand.ts";
import type { Clock } from "#kernel/clock.ts";
import type { Rng } from "#kernel/rng.ts";
import type { TimerWheel } from "#kernel/timer_wheel.ts";
import type { ClusterName, ServiceName } from "#model/names.ts";
import type { Hop } from "#proxy/authorize/hop.ts";
import type { ServiceBalancer } from "#proxy/balance/service_balancer.ts";
import type { ServiceStats } from "#proxy/observe/service_stats.ts";
import type { RetryBudget } from "#proxy/retry/budget.ts";
import type { Upstreams } from "#proxy/upstream/upstreams.ts";

/** What one service needs at run time. Replaced as a whole by each snapshot, state carried over. */
export interface ServiceRuntime {
  readonly name: ServiceName;
  readonly balancer: ServiceBalancer;
  readonly budget: RetryBudget;
  readonly stats: ServiceStats;
}

/** What was decided about a request before its first try. */
export interface RelayPlan {
  readonly service: ServiceRuntime;
  /** What the hop before us said, or a first hop's defaults. */
  readonly hop: Hop;
  /** The subtree that must serve it; undefined: any. */
  readonly within: ClusterName | undefined;
  /** It came from another cluster. */
  readonly foreign: boolean;
  /** From now; 0: none. */
  readonly deadlineMs: Millis;
  /** True: the deadline holds to the end of the answer; false: to the answer's head. */
  readonly deadlineCoversBody: boolean;
  /** To the head of one try's answer; 0: none. */
  readonly tryTimeoutMs: Millis;
}

/** Effects that a relay may have. */
export interface RelayPorts {
  readonly self: ClusterName;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly rng: Rng;
  readonly upstreams: Upstreams;
}
