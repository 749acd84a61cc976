import type { Millis } from "#kernel/brand.ts";
import type { Rng } from "#kernel/rng.ts";
import type { EndpointPicker } from "#proxy/balance/endpoint_picker.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import { mix32 } from "#proxy/balance/hash.ts";
import { firstAllowed, isAllowed, type PickAsk } from "#proxy/balance/reach.ts";
import { Turns } from "#proxy/balance/turns.ts";

/** Slots of the table: a prime, as Envoy has it. The paper wants a hundred times as many as endpoints. */
const SLOTS = 65_537;
/** Slots that are looked at before the endpoints are gone through one by one. */
const PROBES_MAX = 128;

/**
 * Maglev's consistent hashing (D. Eisenbud et al., NSDI 2016): every endpoint fills slots of a table in an order of
 * its own, in turns by weight. Shares are exact to a slot. Of who is out, the keys go to whoever has the next slots,
 * and no others move; who is gone for good moves a few per cent of the others' as well.
 */
export class MaglevPicker implements EndpointPicker {
  readonly #endpoints: readonly EndpointState[];
  /** Slot → index; made by the first request. */
  #table: Uint16Array | Uint32Array | undefined = undefined;

  constructor(endpoints: readonly EndpointState[]) {
    // Every proxy has to fill the slots in the same order.
    this.#endpoints = [...endpoints].sort(byHash);
  }

  pick(ask: PickAsk, now: Millis, rng: Rng): EndpointState | undefined {
    const endpoints = this.#endpoints;
    if (endpoints.length === 0) return undefined;
    this.#table ??= tableOf(endpoints);
    const hash = ask.hash ?? rng.below(0x1_0000_0000);
    let slot = hash % SLOTS;
    for (let probe = 0; probe < PROBES_MAX; probe++) {
      const endpoint = endpoints[this.#table[slot]!]!;
      if (isAllowed(endpoint, ask, now)) return endpoint;
      slot = slot + 1 === SLOTS ? 0 : slot + 1;
    }
    return endpoints[firstAllowed(endpoints, ask, now, hash % endpoints.length)];
  }
}

function tableOf(endpoints: readonly EndpointState[]): Uint16Array | Uint32Array {
  const count = endpoints.length;
  const table = count <= 0x1_0000 ? new Uint16Array(SLOTS) : new Uint32Array(SLOTS);
  const isTaken = new Uint8Array(SLOTS);
  const place = Int32Array.from(endpoints, ({ hash }) => mix32(hash ^ 0x9e3779b9) % SLOTS);
  const skip = Int32Array.from(
    endpoints,
    ({ hash }) => 1 + (mix32(hash ^ 0x7f4a7c15) % (SLOTS - 1)),
  );
  const turns = new Turns(Float64Array.from(endpoints, ({ endpoint }) => 1 / endpoint.weight));
  for (let filled = 0; filled < SLOTS; filled++) {
    const at = turns.next;
    let slot = place[at]!;
    while (isTaken[slot] === 1) slot = (slot + skip[at]!) % SLOTS;
    table[slot] = at;
    isTaken[slot] = 1;
    place[at] = (slot + skip[at]!) % SLOTS;
    turns.pass(1 / endpoints[at]!.endpoint.weight);
  }
  return table;
}

function byHash(a: EndpointState, b: EndpointState): number {
  return a.hash - b.hash;
}
