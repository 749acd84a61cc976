import { quantise } from "#control/catalog/catalog.ts";
import { STEP } from "#control/catalog/loads.ts";
import type { ServiceReport } from "#model/report.ts";

/** Less than this is idle: a request now and then … */
const IDLE = 0.1;
/** … but who was not is so only below this. */
const QUIET = IDLE / 4;
/** Standard deviations of what comes by chance that are no news either. */
const DEVIATIONS = 4;

/** What a gateway reports, held to what it said before as long as that is about the same: noise must not be news. */
export function damped(
  reports: readonly ServiceReport[],
  before: readonly ServiceReport[],
): ServiceReport[] {
  const known = new Map(before.map((report) => [report.service, report]));
  return reports.map((report) => {
    const last = known.get(report.service);
    const { demand, arrivals, limit, stalenessMs, p50Ms, ...rest } = report;
    const step = Math.max(STEP, 1 + noiseOf(Math.max(arrivals ?? 0, last?.arrivals ?? 0)));
    return {
      ...rest,
      ...(demand === undefined ? {} : { demand: held(demand, last?.demand, step) }),
      ...(arrivals === undefined ? {} : { arrivals: held(arrivals, last?.arrivals, step) }),
      ...(limit === undefined ? {} : { limit: held(limit, last?.limit) }),
      ...(stalenessMs === undefined ? {} : { stalenessMs: held(stalenessMs, last?.stalenessMs) }),
      ...(p50Ms === undefined ? {} : { p50Ms: heldMedian(p50Ms, last?.p50Ms) }),
    };
  });
}

/** How far a rate that is averaged over a second strays by chance, as a share of it: its deviation is √(rate / 2). */
function noiseOf(perSecond: number): number {
  return perSecond === 0 ? 0 : DEVIATIONS / Math.sqrt(2 * perSecond);
}

/** @param before what was said of it. */
function held(value: number, before: number | undefined, step = STEP): number {
  const isIdle = value < (before === undefined || before === 0 ? IDLE : QUIET);
  const now = isIdle ? 0 : Math.max(1, value);
  if (before === undefined || before === 0 || now === 0) return now;
  return now > before * step || now < before / step ** 2 ? now : before;
}

/** A median in steps, of which it holds one until it has left it by a quarter of a step. */
function heldMedian(ms: number, before: number | undefined): number {
  const away = STEP ** 0.75;
  return before !== undefined && ms < before * away && ms > before / away ? before : quantise(ms);
}
