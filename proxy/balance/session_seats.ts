import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import type { LocaleState } from "#proxy/balance/locale_state.ts";

/** Where a session goes on. */
interface Seat {
  readonly endpoint: EndpointState;
  readonly locale: LocaleState;
}

/** Endpoints of one snapshot by what session tokens call them. Made when a first session is heard of. */
export class SessionSeats {
  readonly #seats = new Map<string, Seat>();

  constructor(locales: readonly LocaleState[]) {
    for (const locale of locales) {
      for (const endpoint of locale.endpoints) {
        const key = endpoint.sessionKey;
        if (!this.#seats.has(key)) this.#seats.set(key, { endpoint, locale });
      }
    }
  }

  /** Undefined: it is not known here any more. @param key an `EndpointState.sessionKey`. */
  find(key: string): Seat | undefined {
    return this.#seats.get(key);
  }
}
