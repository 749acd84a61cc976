import type { Millis } from "#kernel/brand.ts";
import type { Clock, Timer } from "#kernel/clock.ts";
import type { ServiceRuntime } from "#proxy/relay/plan.ts";

/** How often it looks: whatever happens in between is told together. */
const LOOK_MS: Millis = 50;
/** A change by this share of what was told is one of class. */
const CLASS_SHARE = 0.25;

export interface HealthWatchOptions {
  readonly clock: Clock;
  readonly services: () => Iterable<Pick<ServiceRuntime, "name" | "balancer">>;
  /** The health of one service or more has changed class. */
  readonly onNews: () => void;
}

/**
 * Sees when a cluster's own endpoints of a service go dark, come back, or become a quarter more or fewer: others send
 * there until they hear of it, so that does not wait for the next report. It looks, for an endpoint that is out comes
 * back by time alone.
 */
export class HealthWatch {
  readonly #options: HealthWatchOptions;
  readonly #timer: Timer;
  /** Healthy endpoints of each service when its class was told last. */
  #told = new Map<string, number>();

  constructor(options: HealthWatchOptions) {
    this.#options = options;
    this.#timer = options.clock.every(LOOK_MS, () => this.#look());
  }

  close(): void {
    this.#timer.cancel();
  }

  #look(): void {
    const { clock, services, onNews } = this.#options;
    const now = clock.now();
    const told = this.#told;
    let [seen, news] = [0, false];
    for (const { name, balancer } of services()) {
      seen++;
      const healthy = balancer.healthyHere(now);
      const before = told.get(name);
      // Of a service that is new all endpoints are well, which is what is thought of it anyway.
      if (before !== undefined && !isNews(before, healthy)) continue;
      told.set(name, healthy);
      news ||= before !== undefined;
    }
    if (told.size > seen) this.#forget();
    if (news) onNews();
  }

  /** Services that are not there any more. */
  #forget(): void {
    const names = new Set(Array.from(this.#options.services(), ({ name }) => name as string));
    this.#told = new Map([...this.#told].filter(([name]) => names.has(name)));
  }
}

function isNews(before: number, now: number): boolean {
  if (now === before) return false;
  return now === 0 || Math.abs(now - before) >= CLASS_SHARE * before;
}
