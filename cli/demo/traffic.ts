import { Agent, request } from "node:http";
import type { Clock, Timer } from "#kernel/clock.ts";

/** One request and what became of it. */
export interface Sample {
  readonly service: string;
  /** End, by the clock. */
  readonly at: number;
  readonly elapsedMs: number;
  /** Who answered: `menu-1@store-1.eu.acme.mesh`; "" if it failed. */
  readonly by: string;
  readonly error: string | undefined;
}

/** Samples older than this are of no interest to anybody. */
const KEEP_MS = 10_000;
const REQUEST_TIMEOUT_MS = 20_000;

/** Steady requests to one ingress, at a fixed rate whatever the answers do. */
export class Traffic {
  readonly #clock: Clock;
  readonly #port: number;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 256 });
  readonly #timers: Timer[] = [];
  #samples: Sample[] = [];
  #running = 0;
  total = 0;
  readonly errors: string[] = [];

  constructor(port: number, clock: Clock) {
    this.#port = port;
    this.#clock = clock;
  }

  /** Sends `perSecond` requests to `host` until stopped. */
  start(service: string, host: string, perSecond: number): void {
    this.#timers.push(this.#clock.every(1000 / perSecond, () => this.#send(service, host)));
  }

  /** Of the last `ms`. */
  recent(ms: number): Sample[] {
    const since = this.#clock.now() - ms;
    return this.#samples.filter((sample) => sample.at >= since);
  }

  /** Stops sending and waits for what is on its way. */
  async stop(): Promise<void> {
    for (const timer of this.#timers) timer.cancel();
    const until = this.#clock.now() + REQUEST_TIMEOUT_MS;
    while (this.#running > 0 && this.#clock.now() < until) {
      await new Promise<void>((resolve) => this.#clock.after(20, resolve));
    }
    this.#agent.destroy();
  }

  #send(service: string, host: string): void {
    const startedAt = this.#clock.now();
    this.#running++;
    this.total++;
    let over = false;
    const done = (by: string, error: string | undefined): void => {
      if (over) return;
      over = true;
      this.#running--;
      if (error !== undefined) this.errors.push(`${service}: ${error}`);
      const at = this.#clock.now();
      this.#samples.push({ service, at, elapsedMs: at - startedAt, by, error });
      if (this.#samples.length > 10_000) {
        this.#samples = this.#samples.filter((sample) => sample.at >= at - KEEP_MS);
      }
    };
    const sent = request({
      host: "127.0.0.1",
      port: this.#port,
      agent: this.#agent,
      timeout: REQUEST_TIMEOUT_MS,
      headers: { host },
    });
    sent.on("response", (response) => {
      response.resume();
      const by = String(response.headers["x-served-by"] ?? "");
      const status = response.statusCode ?? 0;
      response.on("end", () => done(by, status === 200 ? undefined : `answer ${status}`));
      response.on("error", (error) => done(by, error.message));
    });
    sent.on("timeout", () => sent.destroy(new Error("timeout")));
    sent.on("error", (error) => done("", error.message));
    sent.end();
  }
}

/** The value below which the share `q` of `sorted` lies. */
export function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0;
}
