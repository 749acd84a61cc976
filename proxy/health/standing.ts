import type { Millis } from "#kernel/brand.ts";
import type { Locale } from "#model/snapshot.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";

/*
 * How all that is known of somebody's health comes to one word. Requests (passive), checks (active) and the owner's
 * word never answer for each other: each can only speak against. docs/routing/inside.md has the same tables.
 */

/** `well` takes requests. The others take none while another can: checks failed, or requests did. */
export type EndpointStanding = "well" | "ejected" | "unhealthy";

const BY_CHECK: readonly (readonly [ejected: EndpointStanding, not: EndpointStanding])[] = [
  // Nobody has checked it yet, or nobody does.
  ["ejected", "well"],
  // A check knows nothing of requests: it ends no ejection.
  ["ejected", "well"],
  // Requests that go well undo no check.
  ["unhealthy", "unhealthy"],
];

/** @param check what active checks say; undefined: nothing. @param ejected by what requests have shown. */
export function endpointStanding(check: boolean | undefined, ejected: boolean): EndpointStanding {
  const row = BY_CHECK[check === undefined ? 0 : check ? 1 : 2]!;
  return ejected ? row[0] : row[1];
}

/**
 * `well`: takes requests. `late`: its facts are old, it takes them where it is clearly cheaper. `last`: only while
 * nobody better can. `out`: only when nobody else can at all, for it may be a mistake. `closed`: never.
 */
export type LocaleStanding = "well" | "late" | "last" | "out" | "closed";

/** All that a locale's standing hangs on. */
export interface LocaleFacts {
  readonly drained: boolean;
  readonly endpoints: number;
  readonly linkUp: boolean;
  /** Endpoints that its owner calls healthy. */
  readonly healthy: number;
  /** One of its endpoints, or gateways, is well. */
  readonly anyWell: boolean;
  readonly freshness: Locale["freshness"];
}

/** The first row that applies says it. */
const LOCALE_ROWS: readonly {
  readonly applies: (facts: LocaleFacts) => boolean;
  readonly standing: LocaleStanding;
}[] = [
  { applies: ({ drained }) => drained, standing: "closed" },
  { applies: ({ endpoints }) => endpoints === 0, standing: "closed" },
  { applies: ({ linkUp }) => !linkUp, standing: "out" },
  { applies: ({ healthy }) => healthy === 0, standing: "out" },
  { applies: ({ anyWell }) => !anyWell, standing: "out" },
  { applies: ({ freshness }) => freshness === "suspect", standing: "last" },
  { applies: ({ freshness }) => freshness === "stale", standing: "late" },
];

/** What a locale is good for now. */
export function localeStanding(facts: LocaleFacts): LocaleStanding {
  for (const { applies, standing } of LOCALE_ROWS) if (applies(facts)) return standing;
  return "well";
}

/** Below this share of well endpoints a locale that is alone panics, if nothing else is said (Envoy: 50 %). */
export const PANIC_SHARE = 0.5;

/**
 * Whether so few of a locale's endpoints are well that the verdicts are doubted rather than the endpoints (Envoy's
 * panic threshold). To be asked only of a locale that no other can help: then those that checks or comparisons speak
 * against are used with the well ones. Whoever has just failed request after request is not; that is no opinion.
 * Where another locale can help, a locale uses its well endpoints alone, bears less by as much, and the rest spills.
 * Where none is well it is out, and `out` uses them all.
 * @param share below which it panics; 0: never.
 */
export function inPanic(endpoints: readonly EndpointState[], share: number, now: Millis): boolean {
  let well = 0;
  for (const endpoint of endpoints) if (!endpoint.isOut(now)) well++;
  return well > 0 && well < share * endpoints.length;
}
