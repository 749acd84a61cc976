import { upward } from "#control/catalog/views.ts";
import { isWithin } from "#model/names.ts";
import type { Summary } from "#model/summary.ts";
import { explainLocales } from "#proxy/balance/explain_locales.ts";
import { SIM_SERVICE, type SimWorld } from "#test/sim/world.ts";

/** What is wrong with the world right now; nothing may ever be. */
export function* broken(world: SimWorld): Iterable<string> {
  const now = world.clock.now();
  for (const { name, tables, control } of world.clusters()) {
    for (const { balancer } of tables?.services.values() ?? []) {
      const weights = balancer.locales.map(({ weight }) => weight);
      const sum = weights.reduce((a, b) => a + b, 0);
      if (weights.some((w) => w < -1e-9) || (Math.abs(sum - 1) > 1e-6 && sum !== 0)) {
        yield `${name}: weights ${weights.join(" ")}`;
      }
      const fresh = balancer.locales.some(
        (l) => l.locale.freshness === "fresh" && balancer.isUsable(l, now) && l.weight > 0,
      );
      for (const { locale, weight } of balancer.locales) {
        if (fresh && locale.freshness === "suspect" && weight > 0) {
          yield `${name}: suspect ${locale.cluster} takes ${weight} beside a fresh locale`;
        }
      }
    }
    for (const child of control.catalog.children) {
      if (!["fresh", "stale", "suspect"].includes(child.freshness)) {
        yield `${name}: keeps ${child.cluster}, which is ${child.freshness}`;
      }
      for (const summary of child.facts.values()) {
        const port = world.cluster(child.cluster).gatePort;
        if (summary.gateways.some((gateway) => gateway.port !== port)) {
          yield `${name}: ${child.cluster} is said to be at ${JSON.stringify(summary.gateways)}`;
        }
      }
    }
    for (const entry of control.catalog.view) {
      if (isWithin(entry.cluster, name)) yield `${name}: is shown its own ${entry.cluster}`;
    }
  }
}

/** What must be so once nothing has been wrong for a while. */
export function* notConverged(world: SimWorld): Iterable<string> {
  const now = world.clock.now();
  for (const { name, control, parent, tables } of world.clusters()) {
    if (parent !== undefined) {
      const said = parent.control.catalog.children.find(({ cluster }) => cluster === name);
      const own = upward(control.catalog);
      const heard = steady(said?.facts ?? []);
      if (heard !== steady(own)) yield `${parent.name} knows of ${name}: ${heard}`;
      if (said?.freshness !== "fresh") yield `${parent.name}: ${name} is ${said?.freshness}`;
    }
    const balancer = tables?.services.get(SIM_SERVICE)?.balancer;
    if (balancer?.inflight !== 0) yield `${name}: counts ${balancer?.inflight} requests that run`;
    const local = balancer?.locales.find(({ kind }) => kind === "local");
    if (local === undefined || local.weight < 0.9) {
      const constraint = { visited: [], tried: [], within: undefined, foreign: false };
      const lines = balancer === undefined ? [] : explainLocales(balancer, constraint, now);
      yield `${name}: the local endpoints are well and not used: ${JSON.stringify(lines)}`;
    }
  }
}

/** What is said, but for what moves with every report: that may be on its way. */
function steady(facts: Iterable<readonly [string, Summary]>): string {
  return JSON.stringify(
    Array.from(facts, ([service, { demand: _d, arrivals: _a, offer: _o, ...rest }]) => [
      service,
      rest,
    ]),
  );
}
