import { quantise } from "#control/catalog/catalog.ts";
import type { ServiceReport } from "#model/report.ts";

/** A load that has moved less than this is no news. */
const STEP = 1.25;
/** Less than this is idle: a request now and then. */
const IDLE = 0.1;

/** What a gateway reports, held to what it said before as long as that is about the same: noise must not be news. */
export function damped(
  reports: readonly ServiceReport[],
  before: readonly ServiceReport[],
): ServiceReport[] {
  const known = new Map(before.map((report) => [report.service, report]));
  return reports.map((report) => {
    const last = known.get(report.service);
    const { demand, arrivals, limit, stalenessMs, p50Ms, ...rest } = report;
    return {
      ...rest,
      ...(demand === undefined ? {} : { demand: held(demand, last?.demand) }),
      ...(arrivals === undefined ? {} : { arrivals: held(arrivals, last?.arrivals) }),
      ...(limit === undefined ? {} : { limit: held(limit, last?.limit) }),
      ...(stalenessMs === undefined ? {} : { stalenessMs: held(stalenessMs, last?.stalenessMs) }),
      ...(p50Ms === undefined ? {} : { p50Ms: quantise(p50Ms) }),
    };
  });
}

/** @param before what was said of it. */
function held(value: number, before: number | undefined): number {
  const now = value < IDLE ? 0 : Math.max(1, value);
  if (before === undefined || before === 0 || now === 0) return now;
  return now > before * STEP || now < before / STEP ** 2 ? now : before;
}
