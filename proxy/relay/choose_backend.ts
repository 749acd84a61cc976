import type { Millis } from "#kernel/brand.ts";
import type { Rng } from "#kernel/rng.ts";
import type { ServiceName } from "#model/names.ts";
import type { ServiceRuntime } from "#proxy/relay/plan.ts";
import { chooseBackend } from "#proxy/route/backend.ts";
import type { Weighted } from "#proxy/route/rule.ts";

/** What a request may go to, and what is known of it. */
interface Choice<T> {
  readonly backends: readonly T[];
  readonly totalWeight: number;
  readonly services: ReadonlyMap<ServiceName, ServiceRuntime>;
}

/**
 * One of the backends, by weight. What would go to one that nobody anywhere can serve now, the others share, as their
 * weights are; one of weight 0 gets nothing, and a service that there is not keeps its share of failures (Gateway API).
 * Undefined if none has a weight.
 */
export function chooseServing<T extends Weighted & { readonly service: ServiceName }>(
  { backends, totalWeight, services }: Choice<T>,
  now: Millis,
  rng: Rng,
): T | undefined {
  const chosen = chooseBackend(backends, totalWeight, rng);
  if (chosen === undefined || backends.length === 1) return chosen;
  const service = services.get(chosen.service);
  if (service === undefined || isServed(service, now)) return chosen;
  const others = backends.filter((other) => {
    const runtime = other.weight > 0 ? services.get(other.service) : undefined;
    return runtime !== undefined && isServed(runtime, now);
  });
  const total = others.reduce((sum, { weight }) => sum + weight, 0);
  return chooseBackend(others, total, rng) ?? chosen;
}

function isServed({ balancer }: ServiceRuntime, now: Millis): boolean {
  return balancer.locales.some(
    (locale) => locale.locale.drained !== true && balancer.isUsable(locale, now),
  );
}
