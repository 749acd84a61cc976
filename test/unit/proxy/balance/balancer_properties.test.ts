import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Rng, seededRng } from "#kernel/rng.ts";
import { type ClusterName, isWithin } from "#model/names.ts";
import type { Service } from "#model/snapshot.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import type { LocaleState } from "#proxy/balance/locale_state.ts";
import type { PickConstraint } from "#proxy/balance/pick_constraint.ts";
import { ServiceBalancer } from "#proxy/balance/service_balancer.ts";
import { HERE, localeAt, treeService } from "#test/kit/tree_service.ts";

const CASES = 2_000;
const PLACE = { self: HERE, workers: 1 };
const CLUSTERS = ["store-1.eu.acme.mesh", "store-2.eu.acme.mesh", "us.acme.mesh", "core.acme.mesh"];
const SUBTREES = [HERE, ...CLUSTERS, "ap.acme.mesh"] as ClusterName[];
const KINDS = ["child", "child", "sibling", "parent"] as const;

const some = <T>(of: readonly T[], rng: Rng): T => of[rng.below(of.length)]!;

function anyService(rng: Rng): Service {
  const about = () => ({
    p50Ms: 1 + rng.below(100),
    freshness: some(["fresh", "fresh", "stale", "suspect"], rng),
    ...(rng.next() < 0.15 ? { drained: true } : {}),
    ...(rng.next() < 0.3 ? { capacity: 1 + rng.below(4) } : {}),
    ...(rng.next() < 0.2 ? { grant: rng.below(4) } : {}),
  });
  const ports = (from: number) => Array.from({ length: 1 + rng.below(3) }, (_, i) => from + i);
  const locales = [
    localeAt("local", HERE, ports(1), about()),
    ...CLUSTERS.map((cluster, i) => localeAt(KINDS[i]!, cluster, ports(10 * (i + 1)), about())),
  ].filter(() => rng.next() < 0.8);
  const places = {
    ...(rng.next() < 0.3 ? { mustStayIn: some(SUBTREES, rng) } : {}),
    ...(rng.next() < 0.2 ? { pin: some(SUBTREES, rng) } : {}),
    ...(rng.next() < 0.2
      ? { split: [0, 1].map(() => ({ cluster: some(SUBTREES, rng), weight: rng.below(5) })) }
      : {}),
  };
  return treeService(locales, { policy: { places } });
}

function anyConstraint(rng: Rng): PickConstraint {
  return {
    visited: CLUSTERS.filter(() => rng.next() < 0.2) as ClusterName[],
    tried: [],
    within: rng.next() < 0.2 ? some(SUBTREES, rng) : undefined,
    foreign: false,
    priority: some(["critical", "default", "sheddable"] as const, rng),
  };
}

/** What a request may not use, worked out anew from what the snapshot says. */
function isForbidden(
  { locale }: LocaleState,
  service: Service,
  constraint: PickConstraint,
): boolean {
  if (locale.drained === true || locale.grant === 0) return true;
  if (locale.kind !== "local" && constraint.visited.includes(locale.cluster)) return true;
  const sender = constraint.visited.at(-1);
  const isAside = locale.kind === "sibling" || locale.kind === "parent";
  if (sender !== undefined && isAside && !isWithin(sender, HERE)) return true;
  const leadsTo = (subtree: ClusterName): boolean => {
    if (isWithin(locale.cluster, subtree)) return true;
    if (locale.kind === "parent") return !isWithin(subtree, HERE);
    return locale.kind !== "local" && isWithin(subtree, locale.cluster);
  };
  const { mustStayIn } = service.policy?.places ?? {};
  return [constraint.within, mustStayIn].some(
    (subtree) => subtree !== undefined && !leadsTo(subtree),
  );
}

/** A balancer to which something has happened. */
function lived(
  seed: number,
  act: (balancer: ServiceBalancer, rng: Rng, now: number) => void,
): void {
  const rng = seededRng(seed);
  const balancer = new ServiceBalancer(anyService(rng), PLACE, 0);
  const running: EndpointState[] = [];
  for (let now = 0; now < 1_500; now += 40 + rng.below(100)) {
    const endpoint = balancer.pick(anyConstraint(rng), now, rng);
    if (endpoint !== undefined) {
      balancer.started(endpoint, now);
      running.push(endpoint);
    }
    if (rng.next() < 0.1) {
      balancer.linkRtt(some(CLUSTERS, rng) as ClusterName, rng.next() < 0.5 ? undefined : 9, now);
    }
    if (running.length < 4) continue;
    const outcome = some(["ok", "ok", "failed", "unreachable", "cancelled"] as const, rng);
    balancer.finished(running.shift()!, outcome, rng.below(300), now);
  }
  act(balancer, rng, 1_600);
}

describe("a balancer, whatever comes", () => {
  it("never uses a place that is drained, visited, outside the fence or the subtree, or that grants nothing", () => {
    for (let seed = 1; seed <= CASES; seed++) {
      lived(seed, (balancer, rng, now) => {
        for (let i = 0; i < 5; i++) {
          const constraint = anyConstraint(rng);
          const endpoint = balancer.pick(constraint, now, rng);
          if (endpoint === undefined) continue;
          const { locale } = endpoint;
          assert.ok(
            !isForbidden(locale, balancer.service, constraint),
            `seed ${seed}: ${locale.kind} ${locale.cluster}`,
          );
          balancer.started(endpoint, now);
        }
        const { mustStayIn } = balancer.service.policy?.places ?? {};
        for (const locale of balancer.locales) {
          const nothing = { visited: [], tried: [], within: mustStayIn, foreign: false };
          if (isForbidden(locale, balancer.service, nothing))
            assert.equal(locale.weight, 0, `seed ${seed}`);
        }
      });
    }
  });

  it("never sends more to a place than it bears, and no class before a more important one is refused", () => {
    for (let seed = 1; seed <= CASES; seed++) {
      lived(seed, (balancer, rng, now) => {
        const constraint = anyConstraint(rng);
        const isServed = (priority: PickConstraint["priority"]): boolean =>
          balancer.pick({ ...constraint, priority }, now, rng) !== undefined;
        if (isServed("sheddable")) assert.ok(isServed("default"), `seed ${seed}: default`);
        if (isServed("default")) assert.ok(isServed("critical"), `seed ${seed}: critical`);
        const endpoint = balancer.pick({ ...constraint, priority: "default" }, now, rng);
        if (endpoint === undefined) return;
        const { locale } = endpoint;
        // All of them full, a few may wait.
        const bears = balancer.bearsOf(locale);
        const queue = bears <= 0 ? 0 : Math.max(2, 2 * Math.sqrt(bears));
        assert.ok(locale.inflight < bears + queue, `seed ${seed}: ${locale.inflight} run there`);
      });
    }
  });

  it("never tries an endpoint again while another one may be tried, however they fail", () => {
    for (let seed = 1; seed <= CASES; seed++) {
      lived(seed, (balancer, rng, now) => {
        const constraint = anyConstraint(rng);
        const { service } = balancer;
        const tried: EndpointState[] = [];
        for (let i = 0; i < 15; i++) {
          const next = balancer.pick({ ...constraint, tried }, now, rng);
          if (next === undefined) break;
          const isLeft = balancer.locales.some(
            (locale) =>
              !isForbidden(locale, service, constraint) &&
              locale.inflight < balancer.bearsOf(locale) &&
              locale.endpoints.some((one) => !tried.includes(one) && !one.isOut(now)) &&
              balancer.isUsable(locale, now) &&
              balancer.hasRoom(locale, constraint.priority!, now),
          );
          if (isLeft) assert.ok(!tried.includes(next), `seed ${seed}: try ${i}`);
          tried.push(next);
          balancer.started(next, now);
          balancer.finished(next, some(["failed", "unreachable"] as const, rng), 5, now);
        }
      });
    }
  });

  it("comes to the same weights in every worker that sees the same", () => {
    for (let seed = 1; seed <= CASES; seed++) {
      const weights: number[][] = [];
      for (let twin = 0; twin < 2; twin++) {
        lived(seed, ({ locales }) => weights.push(locales.map(({ weight }) => weight)));
      }
      assert.deepEqual(weights[0], weights[1], `seed ${seed}`);
    }
  });
});
