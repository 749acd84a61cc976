import { line, nanos } from "#bench/micro/nanos.ts";
import { seededRng } from "#kernel/rng.ts";
import { ALGORITHMS } from "#model/traffic_policy.ts";
import { makePicker } from "#proxy/balance/endpoint_picker.ts";
import type { PickAsk } from "#proxy/balance/reach.ts";
import { localeOf } from "#test/kit/endpoints.ts";

const SIZES = [10, 1_000, 5_000];

/** ns of a pick by each way of choosing inside a locale, among few endpoints and many. */
export function pickerLines(): string[] {
  return [
    ...ALGORITHMS.flatMap((algorithm) =>
      SIZES.map((size) => line(`${algorithm} among ${size}`, pickAmong(algorithm, size))),
    ),
    line("PeakEwma among 10 with limits", pickAmong("PeakEwma", 10, true)),
    line("PeakEwma among 5000 with limits", pickAmong("PeakEwma", 5_000, true)),
  ];
}

function pickAmong(algorithm: (typeof ALGORITHMS)[number], size: number, limited = false): number {
  const locale = localeOf(new Array(size).fill(1));
  const { endpoints } = locale;
  locale.limitsEndpoints = limited;
  if (limited) for (const endpoint of endpoints) endpoint.learn(5, 1, false, 0);
  const picker = makePicker({ algorithm }, endpoints, { seed: 1 });
  const rng = seededRng(1);
  const asks = Array.from(
    { length: 64 },
    (): PickAsk => ({ tried: [], reach: "healthy", hash: rng.below(0x1_0000_0000) }),
  );
  return nanos((i) => picker.pick(asks[i & 63]!, i >> 6, rng));
}
