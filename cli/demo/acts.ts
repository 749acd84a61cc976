import { REGION, STORE } from "#cli/demo/plan.ts";
import type { Shop } from "#cli/demo/shop.ts";
import type { Sample } from "#cli/demo/traffic.ts";

/** Something that happens to the tree, and what must then be so. */
export interface Act {
  readonly says: string;
  readonly happen: (shop: Shop) => Promise<void>;
  /** Seconds until the effect must show, besides answers without errors. */
  readonly withinS: number;
  /** What `menu.shop` requests of the last second must look like then. */
  readonly expects: string;
  readonly holds: (samples: readonly Sample[]) => boolean;
}

const local = (sample: Sample): boolean => sample.by.endsWith(`@${STORE}`);
const at = (cluster: string) => (sample: Sample) => sample.by.endsWith(`@${cluster}`);
const share = (samples: readonly Sample[], is: (sample: Sample) => boolean): number =>
  samples.filter(is).length / Math.max(1, samples.length);

/** One round of the demo. */
export const ACTS: readonly Act[] = [
  {
    says: "nothing yet: requests are served where they arise",
    happen: async () => {},
    withinS: 4,
    expects: "the store's own menu answers",
    holds: (samples) => share(samples, local) > 0.9,
  },
  {
    says: "one of the store's two menu endpoints becomes slow (400 ms)",
    happen: async (shop) => {
      // The one that has the traffic: the other's slowness nobody would notice.
      const [busiest] = shop.origins(STORE, "menu").toSorted((a, b) => b.served - a.served);
      busiest!.delayMs = 400;
    },
    withinS: 5,
    expects: "hardly anybody waits for the slow one",
    holds: (samples) => share(samples, ({ elapsedMs }) => elapsedMs > 200) < 0.1,
  },
  {
    says: "the store's own menu dies",
    happen: async (shop) => {
      for (const origin of shop.origins(STORE, "menu")) await origin.kill();
    },
    withinS: 5,
    expects: "another cluster answers, the region as it is nearest",
    holds: (samples) => share(samples, local) === 0 && share(samples, at(REGION)) > 0.5,
  },
  {
    says: "the region's gateway is killed as well",
    happen: (shop) => shop.killGateway(REGION),
    withinS: 5,
    expects: "the traffic goes around it",
    holds: (samples) => samples.length > 0 && share(samples, at(REGION)) === 0,
  },
  {
    says: "the region's gateway comes back",
    happen: (shop) => shop.startGateway(REGION),
    withinS: 9,
    expects: "the region answers again",
    holds: (samples) => share(samples, at(REGION)) > 0.5,
  },
  {
    says: "the link to the region black-holes: packets vanish, nothing is refused",
    happen: async (shop) => {
      shop.link(REGION).blackHole = true;
    },
    withinS: 7,
    expects: "the traffic goes around it",
    holds: (samples) => samples.length > 0 && share(samples, at(REGION)) === 0,
  },
  {
    says: "all comes back",
    happen: async (shop) => {
      shop.link(REGION).blackHole = false;
      for (const origin of shop.origins(STORE, "menu")) {
        origin.delayMs = 2;
        await origin.start();
      }
    },
    withinS: 18,
    expects: "the store's own menu answers",
    holds: (samples) => share(samples, local) > 0.9,
  },
];
