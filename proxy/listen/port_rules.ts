import type { Millis } from "#kernel/brand.ts";
import type { ClientRules } from "#model/snapshot.ts";
import type { ClientPolicy } from "#proxy/exchange/exchange.ts";
import { type ConnectionLimits, limitsOf } from "#proxy/exchange/limits.ts";
import { AddressBlocks } from "#proxy/listen/address_blocks.ts";

/** Open connections of one port; one more is closed at once. */
const CONNECTIONS_MAX = 10_000;
/** Without a byte of an answer, or of a tunnel in either direction (Envoy: stream_idle_timeout). */
const STREAM_IDLE_MS: Millis = 300_000;
const NO_RULES: ClientRules = {
  proxyProtocolFrom: [],
  trustedForwarders: [],
  forwarded: false,
  debugFrom: [],
};

/** What a port does with its clients: the rules of its listener, with what holds where they say nothing. */
export interface PortRules {
  readonly limits: ConnectionLimits;
  readonly policy: ClientPolicy;
  readonly connectionsMax: number;
  /** Load balancers that say who the client is. */
  readonly proxyFrom: AddressBlocks;
  /** Proxies whose word about their own clients is believed. */
  readonly trusted: AddressBlocks;
}

/** @param limits for tests: in place of what `rules` say. */
export function portRules(
  rules: ClientRules = NO_RULES,
  limits: ConnectionLimits = limitsOf(rules),
): PortRules {
  const { streamIdleMs = STREAM_IDLE_MS, forwarded, accessLogShare } = rules;
  return {
    limits,
    policy: {
      streamIdleMs,
      forwarded,
      accessLogShare,
      debugFrom: rules.debugFrom.length === 0 ? undefined : new AddressBlocks(rules.debugFrom),
    },
    connectionsMax: rules.connectionsMax ?? CONNECTIONS_MAX,
    proxyFrom: new AddressBlocks(rules.proxyProtocolFrom),
    trusted: new AddressBlocks(rules.trustedForwarders),
  };
}
