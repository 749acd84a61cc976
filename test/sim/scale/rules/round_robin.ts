import type { Ask, Rule } from "#test/sim/scale/rule.ts";
import { FlatHosts, type Host, type Level, servingIn } from "#test/sim/scale/rules/flat_hosts.ts";
import { FlatRule } from "#test/sim/scale/rules/flat_rule.ts";
import type { Place, Topology } from "#test/sim/scale/topology.ts";

/** In turns over a fixed set of places, whatever they answer. */
class InTurns extends FlatRule {
  readonly #hosts: FlatHosts;
  readonly #local: Level;
  readonly #levels: readonly Level[];
  #turn: number;

  constructor(hosts: FlatHosts, clusters: readonly number[], phase: number) {
    super();
    this.#hosts = hosts;
    this.#local = hosts.local();
    const own = clusters.includes(hosts.place.id) ? [this.#local] : [];
    const others = hosts.level(clusters.filter((id) => id !== hosts.place.id));
    this.#levels = [...own, others].filter(({ total }) => total > 0);
    this.#turn = phase;
  }

  override pick({ visited, tried }: Ask<Host>): Host | undefined {
    const levels = visited.length > 0 ? [this.#local] : this.#levels;
    const total = levels.reduce((sum, level) => sum + level.slots.length, 0);
    let last: Host | undefined;
    for (let i = 0; i < Math.min(total, 1 + tried.length); i++) {
      this.#turn++;
      let n = this.#turn % total;
      for (const level of levels) {
        if (n < level.slots.length) {
          last = this.#hosts.at(level, n);
          break;
        }
        n -= level.slots.length;
      }
      if (!tried.includes(last!)) break;
    }
    return last;
  }
}

/** Round robin over everything that is known. */
export function roundRobin(topology: Topology, place: Place): Rule<Host> {
  return new InTurns(new FlatHosts(topology, place), servingIn(topology), place.id * 7);
}

/** All to the nearest cluster that runs the service, the own one if it does. */
export function nearestOnly(topology: Topology, place: Place): Rule<Host> {
  let nearest = -1;
  let least = Number.POSITIVE_INFINITY;
  for (const id of servingIn(topology)) {
    const rttMs = topology.rttMs(place.id, id);
    if (rttMs >= least) continue;
    least = rttMs;
    nearest = id;
  }
  return new InTurns(new FlatHosts(topology, place), [nearest], place.id);
}
