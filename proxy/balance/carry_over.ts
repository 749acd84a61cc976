import type { Millis } from "#kernel/brand.ts";
import type { Service } from "#model/snapshot.ts";
import { makePicker, type PickerPlace } from "#proxy/balance/endpoint_picker.ts";
import { EndpointState } from "#proxy/balance/endpoint_state.ts";
import { type Attention, LocaleState, localeKey } from "#proxy/balance/locale_state.ts";
import { OutlierDetector } from "#proxy/health/outlier_detector.ts";
import { endpointKey } from "#proxy/upstream/upstreams.ts";

/** The locales of a snapshot and what was known of them. */
export interface CarriedLocales {
  readonly locales: readonly LocaleState[];
  /** Index of each among those before; -1: it is new. */
  readonly known: Int32Array;
}

/** By their keys: a snapshot may name thousands of each, and no request moves while they are compared. */
export function carryLocales(
  service: Service,
  before: readonly LocaleState[],
  about: { readonly attention: Attention; readonly place: PickerPlace; readonly now: Millis },
): CarriedLocales {
  const places = new Map<string, number>();
  before.forEach(({ locale }, i) => {
    const key = localeKey(locale);
    if (!places.has(key)) places.set(key, i);
  });
  const { attention, place, now } = about;
  const { balance, outliers, limits } = service.policy ?? {};
  const isAdaptive = limits?.adaptive !== false;
  // Of their predecessors nobody will look after any more.
  attention.locales.length = 0;
  const known = new Int32Array(service.locales.length).fill(-1);
  const locales = service.locales.map((locale, i) => {
    const state = new LocaleState(locale, i, attention);
    known[i] = places.get(localeKey(locale)) ?? -1;
    const old = before[known[i]!];
    if (old !== undefined) state.carryOver(old, now);
    carryEndpoints(state, old, now);
    state.picker = makePicker(balance, state.endpoints, place, old?.picker);
    state.outliers = new OutlierDetector(outliers, state.endpoints, place.seed, old?.outliers);
    // Of a single one the locale's says it all.
    state.limitsEndpoints = isAdaptive && state.kind === "local" && state.endpoints.length > 1;
    if (!state.limitsEndpoints) for (const endpoint of state.endpoints) endpoint.learnt = undefined;
    // Nobody would ever say otherwise.
    if (service.healthCheck === undefined)
      for (const endpoint of state.endpoints) endpoint.verdict = undefined;
    return state;
  });
  return { locales, known };
}

function carryEndpoints(state: LocaleState, known: LocaleState | undefined, now: Millis): void {
  const before = new Map<string, EndpointState>();
  for (const one of known?.endpoints ?? []) {
    const key = endpointKey(one.endpoint);
    if (!before.has(key)) before.set(key, one);
  }
  for (const endpoint of state.locale.endpoints) {
    const old = before.get(endpointKey(endpoint));
    if (old === undefined || old.endpoint.weight !== endpoint.weight) {
      const fresh = new EndpointState(endpoint, state, now);
      if (old !== undefined) fresh.inherit(old);
      state.endpoints.push(fresh);
      continue;
    }
    // The same object: running requests still count on it. Its locale becomes the new one.
    old.locale = state;
    // The same place; how it is verified may have changed.
    old.endpoint = endpoint;
    old.seed(state.seedMs());
    state.endpoints.push(old);
    state.inflight += old.inflight;
    state.waiting += old.waiting;
  }
}
