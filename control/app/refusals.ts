import type { Logger } from "#kernel/log.ts";
import type { Snapshot } from "#model/snapshot.ts";

/** Says in the log what policies say and what does not hold: once when it begins, not with each snapshot. */
export class Refusals {
  readonly #log: Logger;
  #known: ReadonlySet<string> = new Set();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Reads the newest snapshot of a gateway. */
  look({ services }: Snapshot): void {
    const now = new Map<string, { readonly fields: object; readonly of: string[] }>();
    for (const { name, policyOrigins = [] } of services) {
      for (const { cluster, policy, refused } of policyOrigins) {
        for (const what of refused) {
          const key = JSON.stringify([cluster, policy, what]);
          const said = now.get(key) ?? { fields: { from: cluster, policy, what }, of: [] };
          said.of.push(name);
          now.set(key, said);
        }
      }
    }
    for (const [key, { fields, of }] of now) {
      if (this.#known.has(key)) continue;
      // A policy for all is refused for all: a few names will do.
      const example = of.slice(0, 3).join(" ");
      this.#log.warn("policy not followed", { ...fields, services: of.length, example });
    }
    this.#known = new Set(now.keys());
  }
}
