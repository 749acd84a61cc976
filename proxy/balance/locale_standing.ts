import type { Millis } from "#kernel/brand.ts";
import type { LocaleState } from "#proxy/balance/locale_state.ts";
import { LAST_RESORT, OUT, READY } from "#proxy/balance/waterfall.ts";
import { localeStanding } from "#proxy/health/standing.ts";

/** What a locale is good for now, in the waterfall's words. @param anyWell one of its endpoints is. */
export function standingOf(of: LocaleState, anyWell: boolean, now: Millis): number {
  const { linkUp, endpoints } = of;
  const { drained = false, freshness } = of.locale;
  const healthy = of.healthy(now);
  const facts = { drained, endpoints: endpoints.length, linkUp, healthy, anyWell, freshness };
  const standing = localeStanding(facts);
  if (standing === "closed" || standing === "out") return OUT;
  // Whatever goes there may be lost, until it is known why nothing comes back.
  if (of.stall.isStalled(of.usualMs, now)) return LAST_RESORT;
  return standing === "last" ? LAST_RESORT : READY;
}

/** Its link answers, and its owner has somebody. */
export function isOpen(locale: LocaleState, now: Millis): boolean {
  return locale.linkUp && locale.healthy(now) > 0;
}
