import type { ClusterName } from "#model/names.ts";
import type { Endpoint, Locale } from "#model/snapshot.ts";
import { EndpointState } from "#proxy/balance/endpoint_state.ts";
import { Attention, LocaleState } from "#proxy/balance/locale_state.ts";

/** A local locale of endpoints at 10.x.x.x, one for each weight, in these zones if there are any. */
export function localeOf(
  weights: readonly number[],
  zones: readonly (string | undefined)[] = [],
  kind: Locale["kind"] = "local",
): LocaleState {
  const endpoints = weights.map((weight, i): Endpoint => {
    const zone = zones[i];
    const address = `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`;
    return { address, port: 80, weight, ...(zone === undefined ? {} : { zone }) };
  });
  const locale: Locale = {
    ...{ kind, cluster: "eu.acme.mesh" as ClusterName, endpoints, healthy: endpoints.length },
    ...{ egressMs: 0, freshness: "fresh" },
  };
  const state = new LocaleState(locale, 0, new Attention());
  state.endpoints.push(...endpoints.map((endpoint) => new EndpointState(endpoint, state, 0)));
  return state;
}

/** Takes an endpoint out, as failures in a row do. */
export function ejectUntil(endpoint: EndpointState, until: number): void {
  endpoint.outlier = { failures: 5, ejections: 1, ejectedUntil: until };
}
