import type { ScaleWorld } from "#test/sim/scale/scale_world.ts";
import type { Shape } from "#test/sim/scale/topology.ts";

/** What happens in one run, and where it is looked at. */
export interface Story {
  /** Clusters whose clients' requests count. */
  readonly measured: readonly number[];
  /** Clusters that take what others lose: their load is reported. */
  readonly receivers: readonly number[];
  /** Links that change: probes on them are played. */
  readonly links: ReadonlyArray<readonly [number, number]>;
  begin(): void;
  end(): void;
}

/** One fault in one world. */
export interface Scenario {
  readonly name: string;
  /** One line for tables and plots. */
  readonly title: string;
  readonly shape: Shape;
  /** Seconds: the fault begins, ends, and the run is over. */
  readonly fromS: number;
  readonly untilS: number;
  readonly endS: number;
  readonly skewedClocks?: boolean;
  plan(world: ScaleWorld): Story;
}
