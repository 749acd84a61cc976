import { STORE } from "#cli/demo/plan.ts";
import type { Shop } from "#cli/demo/shop.ts";
import { quantile, type Sample, type Traffic } from "#cli/demo/traffic.ts";
import { tableText } from "#cli/output.ts";

/** Seconds that one line of the table sums up. */
const WINDOW_S = 2;

/** The live table: who is served from where, how fast, and why from there. */
export async function demoTable(shop: Shop, traffic: Traffic): Promise<string> {
  const samples = traffic.recent(WINDOW_S * 1_000);
  const rows = [["SERVICE", "FROM", "TO", "LOCALE", "REQ/S", "P50", "P99", "WHY"]];
  for (const service of [...new Set(samples.map((sample) => sample.service))].sort()) {
    const locales = await localesOf(shop, service);
    const own = samples.filter((sample) => sample.service === service);
    const places = new Set(own.map(placeOf));
    for (const place of [...places].sort()) {
      rows.push(rowOf(service, place, own, locales));
    }
  }
  return `${tableText(rows)}\nrequests ${traffic.total}, errors ${traffic.errors.length}`;
}

interface LocaleLine {
  readonly kind: string;
  readonly cluster: string;
  readonly reason: string;
}

async function localesOf(shop: Shop, service: string): Promise<readonly LocaleLine[]> {
  const gateway = shop.tree.cluster(STORE).gateway;
  const explained = await gateway?.plane.explain({
    url: `http://${hostOf(service)}/`,
    method: "GET",
    fields: [],
  });
  return explained?.services[0]?.locales ?? [];
}

/** The address by which a demo service is asked for, wherever it is. */
export function hostOf(service: string): string {
  return `${service}.shop.svc.acme.mesh`;
}

function rowOf(
  service: string,
  place: string,
  samples: readonly Sample[],
  locales: readonly LocaleLine[],
): string[] {
  const own = samples.filter((sample) => placeOf(sample) === place);
  const sorted = own.map(({ elapsedMs }) => elapsedMs).sort((a, b) => a - b);
  // Answers from beyond a neighbour came through the parent.
  const locale =
    locales.find(({ cluster }) => cluster === place) ??
    locales.find(({ kind }) => kind === "parent");
  return [
    `${service}.shop`,
    short(STORE),
    place === "" ? "(failed)" : short(place),
    locale?.kind ?? "-",
    (own.length / WINDOW_S).toFixed(0),
    `${quantile(sorted, 0.5).toFixed(1)} ms`,
    `${quantile(sorted, 0.99).toFixed(1)} ms`,
    locale?.reason ?? "",
  ];
}

function placeOf({ by }: Sample): string {
  return by.slice(by.indexOf("@") + 1);
}

function short(cluster: string): string {
  return cluster.replace(".acme.mesh", "");
}
