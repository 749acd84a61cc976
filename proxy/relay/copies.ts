import type { Fields, RequestHead } from "#proxy/exchange/exchange.ts";
import { Mirror } from "#proxy/relay/mirror.ts";
import type { RelayPlan, RelayPorts } from "#proxy/relay/plan.ts";

/** The copies of one request, for the services that its rule mirrors it to. */
export class Copies {
  readonly #mirrors: readonly Mirror[];

  constructor(ports: RelayPorts, plan: RelayPlan, head: RequestHead) {
    this.#mirrors = plan.mirrors.map((service) => new Mirror(ports, service));
    for (const mirror of this.#mirrors) mirror.start(head, plan);
  }

  body(chunk: Buffer): void {
    for (const mirror of this.#mirrors) mirror.body(chunk);
  }

  bodyEnd(trailers: Fields | undefined): void {
    for (const mirror of this.#mirrors) mirror.bodyEnd(trailers);
  }

  /** The request will never be whole. */
  drop(): void {
    for (const mirror of this.#mirrors) mirror.drop();
  }
}
