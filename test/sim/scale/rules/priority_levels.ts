import type { Millis } from "#kernel/brand.ts";
import type { Rng } from "#kernel/rng.ts";
import type { Outcome } from "#proxy/balance/endpoint_state.ts";
import type { Ask } from "#test/sim/scale/rule.ts";
import { FlatHosts, type Host, type Level, servingIn } from "#test/sim/scale/rules/flat_hosts.ts";
import {
  ENVOY_OUTLIERS,
  FlatOutliers,
  type OutlierSettings,
} from "#test/sim/scale/rules/flat_outliers.ts";
import { FlatRule } from "#test/sim/scale/rules/flat_rule.ts";
import type { Place, Topology } from "#test/sim/scale/topology.ts";

/*
 * Priority levels as Envoy documents them (intro/arch_overview/upstream/load_balancing/priority): a level that is
 * healthy by H % takes min(100, 1.4 × H) % of what the levels above have left. Levels: the own endpoints, the siblings
 * and the region, the rest of the mesh.
 */

const OVERPROVISIONING = 1.4;
/** Below that share of healthy hosts a level is in panic, if all levels together cannot take everything. */
const PANIC = 0.5;
/** Draws for one that has not failed this request yet. */
const DRAWS = 5;

/** What differs between Envoy's defaults and Istio's locality failover. */
export interface LevelSettings {
  readonly outliers: OutlierSettings;
  readonly inside: "round-robin" | "least-request";
}

/** Envoy's defaults: round robin, outliers as they are, at most 10 % out. */
export const ENVOY_LEVELS: LevelSettings = { outliers: ENVOY_OUTLIERS, inside: "round-robin" };

/**
 * Istio's locality failover: the same levels, least request of two, and the outlier detection that it requires. Its
 * cap is lifted, as everybody must who wants a level to be left as a whole.
 */
export const ISTIO_LEVELS: LevelSettings = {
  outliers: {
    consecutive: 5,
    intervalMs: 10_000,
    baseMs: 30_000,
    maxMs: 300_000,
    maxShare: 1,
  },
  inside: "least-request",
};

export class PriorityLevels extends FlatRule {
  readonly #hosts: FlatHosts;
  readonly #levels: readonly Level[];
  readonly #outliers: FlatOutliers;
  readonly #settings: LevelSettings;
  readonly #rng: Rng;

  constructor(topology: Topology, place: Place, rng: Rng, settings: LevelSettings) {
    super();
    this.#rng = rng;
    this.#settings = settings;
    this.#hosts = new FlatHosts(topology, place);
    const near = this.#hosts.near();
    const isNear = new Set([...near, place.id]);
    const rest = servingIn(topology).filter((id) => !isNear.has(id));
    const levels = [this.#hosts.local(), this.#hosts.level(near), this.#hosts.level(rest)];
    this.#levels = levels.filter(({ total }) => total > 0);
    this.#outliers = new FlatOutliers(this.#hosts, this.#levels, settings.outliers);
  }

  override pick({ visited, tried }: Ask<Host>, now: Millis): Host | undefined {
    this.#outliers.sweep(now);
    // From another cluster it ends here: who sent it has chosen among all.
    if (visited.length > 0) {
      const own = this.#levels[0];
      if (own?.isLocal !== true) return undefined;
      return this.#among(own, tried, own.total - own.ejected < PANIC * own.total);
    }
    const { level, panics } = this.#drawLevel();
    const first = this.#among(level, tried, panics);
    if (first !== undefined && !tried.includes(first)) return first;
    for (const other of this.#levels) {
      if (other === level) continue;
      const next = this.#among(other, tried, panics);
      if (next !== undefined && !tried.includes(next)) return next;
    }
    return first;
  }

  override finished(host: Host, outcome: Outcome, _latencyMs: Millis, now: Millis): void {
    super.finished(host, outcome, _latencyMs, now);
    this.#outliers.finished(host, outcome, now);
  }

  #drawLevel(): { level: Level; panics: boolean } {
    const healths = this.#levels.map(({ total, ejected }) =>
      Math.min(1, (OVERPROVISIONING * (total - ejected)) / total),
    );
    const all = Math.min(
      1,
      healths.reduce((sum, health) => sum + health, 0),
    );
    let draw = this.#rng.next();
    let left = 1;
    for (let i = 0; i < healths.length; i++) {
      const load = all === 0 ? (i === 0 ? 1 : 0) : Math.min(left, healths[i]! / all);
      left -= load;
      draw -= load;
      if (draw >= 0 && i < healths.length - 1) continue;
      const level = this.#levels[i]!;
      return { level, panics: all < 1 && level.total - level.ejected < PANIC * level.total };
    }
    throw new Error("a service without any level");
  }

  #among(level: Level, tried: readonly Host[], panics: boolean): Host | undefined {
    let last: Host | undefined;
    for (let i = 0; i < DRAWS; i++) {
      const host = this.#one(level, panics);
      if (host === undefined) return last;
      if (!tried.includes(host)) return host;
      last = host;
    }
    return last;
  }

  #one(level: Level, panics: boolean): Host | undefined {
    const first = this.#next(level, panics);
    if (this.#settings.inside === "round-robin" || first === undefined) return first;
    const second = this.#random(level, panics) ?? first;
    return first.inflight / first.weight <= second.inflight / second.weight ? first : second;
  }

  #next(level: Level, panics: boolean): Host | undefined {
    if (this.#settings.inside === "least-request") return this.#random(level, panics);
    for (let i = 0; i < level.slots.length; i++) {
      level.turn = (level.turn + 1) % level.slots.length;
      const host = this.#hosts.at(level, level.turn);
      if (panics || !this.#outliers.isOut(host)) return host;
    }
    return undefined;
  }

  #random(level: Level, panics: boolean): Host | undefined {
    const { length } = level.slots;
    const from = this.#rng.below(length);
    for (let i = 0; i < length; i++) {
      const host = this.#hosts.at(level, (from + i) % length);
      if (panics || !this.#outliers.isOut(host)) return host;
    }
    return undefined;
  }
}
