import type { Socket } from "node:net";
import type { Clock } from "#kernel/clock.ts";
import type { Rng } from "#kernel/rng.ts";
import type { TimerWheel } from "#kernel/timer_wheel.ts";
import type { AlpnProtocol } from "#model/app_protocol.ts";
import type { Endpoint } from "#model/snapshot.ts";
import type { AnswerSink, RequestHead, UpstreamStream } from "#proxy/exchange/exchange.ts";
import type { ConnectionLimits } from "#proxy/exchange/limits.ts";
import type { ConnectionPolicy } from "#proxy/upstream/connection_policy.ts";
import type { TlsTowards } from "#proxy/upstream/dial.ts";
import type { UpstreamCounters } from "#proxy/upstream/upstream_counters.ts";

/** What the pools of all endpoints have in common. */
export interface PoolOptions {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly rng: Rng;
  readonly tls: TlsTowards;
  readonly limits: ConnectionLimits;
  readonly counters: UpstreamCounters;
  /** Hears of each connection that a pool begins to open, before the pool hears what becomes of it. */
  readonly onDial?: (socket: Socket, protocol: AlpnProtocol) => void;
}

/** The connections to one endpoint, in whatever protocol. */
export interface Pool {
  /** What its connections speak; undefined: none has agreed with the endpoint yet. */
  readonly protocol: AlpnProtocol | undefined;
  readonly size: number;
  /** Connections that carry nothing. */
  readonly idle: number;
  /** Requests that wait for one. */
  readonly pending: number;
  /** No snapshot names the endpoint any more. */
  readonly retired: boolean;
  /** @param atOnce takes a connection beyond the limit rather than wait for one. */
  open(endpoint: Endpoint, head: RequestHead, sink: AnswerSink, atOnce: boolean): UpstreamStream;
  /** Other limits from now on. Running requests keep their connections; idle ones beyond them go. */
  follow(policy: ConnectionPolicy): void;
  /** Fails everything: what runs may have been acted upon, what waits or connects cannot have been. */
  sever(detail: string): void;
  /** Closes what is idle, and the rest once it has ended. Who waits is served still. */
  retire(): void;
  /** The proxy ends: nobody's turn comes any more. */
  close(): void;
}
