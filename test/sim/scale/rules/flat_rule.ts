import type { Millis } from "#kernel/brand.ts";
import type { Outcome } from "#proxy/balance/endpoint_state.ts";
import type { Ask, Rule } from "#test/sim/scale/rule.ts";
import type { Host } from "#test/sim/scale/rules/flat_hosts.ts";

/** What all rules of a flat mesh do alike: they know how many requests run at each host. */
export abstract class FlatRule implements Rule<Host> {
  abstract pick(ask: Ask<Host>, now: Millis): Host | undefined;

  idOf(host: Host): number {
    return host.id;
  }

  started(host: Host): void {
    host.inflight++;
  }

  finished(host: Host, _outcome: Outcome, _latencyMs: Millis, _now: Millis): void {
    host.inflight--;
  }
}
