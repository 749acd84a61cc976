import { ACTS, type Act } from "#cli/demo/acts.ts";
import { DEMO_SERVICES, STORE } from "#cli/demo/plan.ts";
import { demoTable, hostOf } from "#cli/demo/screen.ts";
import { Shop } from "#cli/demo/shop.ts";
import { quantile, Traffic } from "#cli/demo/traffic.ts";
import { EXIT } from "#cli/exit.ts";
import { jsonLine } from "#cli/output.ts";
import { openAdmin } from "#kernel/admin_http.ts";
import { type Clock, sleep, systemClock } from "#kernel/clock.ts";
import { jsonLogger } from "#kernel/log.ts";
import { systemRng } from "#kernel/rng.ts";

const PER_SECOND = 100;
/** Between two acts, if nobody is in a hurry. */
const ACT_S = 15;

export interface DemoOptions {
  /** One round, as short as it can be, then a summary and an exit code. */
  readonly once: boolean;
  /** The summary goes to stdout as one JSON value as well. */
  readonly json: boolean;
  readonly print: (text: string) => void;
  /** Redraw the table in place. */
  readonly live: boolean;
  /** Resolves when the user has had enough. */
  readonly stopped: Promise<unknown>;
}

/** What one act showed. */
interface Outcome {
  readonly act: Act;
  /** Seconds until what it expects was so; undefined: never. */
  readonly afterS: number | undefined;
  readonly worstMs: number;
  readonly errors: number;
}

/** Runs the demo. Returns the exit code. */
export async function runDemo(options: DemoOptions): Promise<number> {
  const { print, once } = options;
  const clock = systemClock;
  const shop = await Shop.open({ clock, rng: systemRng(), log: jsonLogger("error") });
  const admin = await openAdmin({ address: "127.0.0.1", port: 0, routes: shop.tree.adminRoutes() });
  if (!admin.ok) throw new Error(admin.error);
  const port = await shop.ingressPort(STORE);
  const header = welcome(port, admin.value.port);
  print(header);
  const traffic = new Traffic(port, clock);
  for (const service of DEMO_SERVICES) traffic.start(service, hostOf(service), PER_SECOND);
  let over = false;
  void options.stopped.then(() => {
    over = true;
  });
  const outcomes: Outcome[] = [];
  do {
    for (const act of ACTS) {
      if (over) break;
      outcomes.push(
        await perform(act, { shop, traffic, clock, options, header, over: () => over }),
      );
    }
  } while (!once && !over);
  await traffic.stop();
  await admin.value.close();
  await shop.close();
  const broken = outcomes.filter(({ afterS }) => afterS === undefined);
  print(summary(outcomes, traffic));
  if (options.json) jsonLine(summaryJson(outcomes, traffic));
  return traffic.errors.length > 0 || (once && broken.length > 0) ? EXIT.failed : EXIT.ok;
}

interface Stage {
  readonly shop: Shop;
  readonly traffic: Traffic;
  readonly clock: Clock;
  readonly options: DemoOptions;
  /** Stays on the screen. */
  readonly header: string;
  readonly over: () => boolean;
}

async function perform(act: Act, stage: Stage): Promise<Outcome> {
  const { shop, traffic, clock, options, header, over } = stage;
  const { once, print, live } = options;
  print(`\n── ${act.says}`);
  const errorsBefore = traffic.errors.length;
  const startedAt = clock.now();
  await act.happen(shop);
  let afterS: number | undefined;
  for (let drawnAt = startedAt; !over(); ) {
    await sleep(clock, 100);
    const elapsedS = (clock.now() - startedAt) / 1_000;
    // Judged by whole seconds that lie after the event.
    if (afterS === undefined && elapsedS >= 1.2) {
      const menu = traffic.recent(1_000).filter(({ service }) => service === "menu");
      if (act.holds(menu)) afterS = elapsedS;
    }
    if (live && clock.now() - drawnAt >= 1_000) {
      drawnAt = clock.now();
      const secondsLeft = Math.max(0, Math.ceil(ACT_S - elapsedS));
      const next = `next in ${secondsLeft} s; Ctrl-C ends`;
      print(
        `\x1b[2J\x1b[H${header}\n\n── ${act.says}\n\n${await demoTable(shop, traffic)}\n${next}`,
      );
    }
    if (
      once ? elapsedS >= act.withinS || (afterS !== undefined && elapsedS >= 4) : elapsedS >= ACT_S
    ) {
      break;
    }
  }
  if (!live) print(await demoTable(shop, traffic));
  const sinceMs = clock.now() - startedAt;
  const worstMs = Math.max(0, ...traffic.recent(sinceMs).map(({ elapsedMs }) => elapsedMs));
  return { act, afterS, worstMs, errors: traffic.errors.length - errorsBefore };
}

function welcome(port: number, admin: number): string {
  return `A tree of seven clusters is up in this process: core; eu and us; two stores under each.
${DEMO_SERVICES.length * PER_SECOND} requests/s arise in ${STORE}. Try:

  curl -H 'Host: ${hostOf("menu")}' http://127.0.0.1:${port}/
  curl -H 'Host: menu.shop.svc.us.acme.mesh' http://127.0.0.1:${port}/
  curl 'http://127.0.0.1:${admin}/clusters'
  ./espalier explain http://${hostOf("menu")}/ --from ${STORE} --admin 127.0.0.1:${admin}`;
}

function summaryJson(outcomes: readonly Outcome[], traffic: Traffic): object {
  return {
    requests: traffic.total,
    errors: traffic.errors,
    acts: outcomes.map(({ act, afterS, worstMs, errors }) => ({
      happened: act.says,
      expected: act.expects,
      kept: afterS !== undefined,
      afterSeconds: afterS ?? null,
      slowestMs: worstMs,
      errors,
    })),
  };
}

function summary(outcomes: readonly Outcome[], traffic: Traffic): string {
  const lines = outcomes.map(({ act, afterS, worstMs, errors }) => {
    const kept = afterS === undefined ? "BROKEN" : "kept";
    const when =
      afterS === undefined ? `not within ${act.withinS} s` : `after ${afterS.toFixed(1)} s`;
    return `  ${kept.padEnd(6)} ${act.says}: ${act.expects} (${when}; slowest answer ${worstMs.toFixed(0)} ms, errors ${errors})`;
  });
  const sorted = traffic
    .recent(10_000)
    .map(({ elapsedMs }) => elapsedMs)
    .sort((a, b) => a - b);
  const reasons = [...new Set(traffic.errors)].slice(0, 5).map((error) => `    ${error}`);
  return [
    "\nSummary",
    ...lines,
    `  requests ${traffic.total}, errors ${traffic.errors.length}; last 10 s: p50 ${quantile(sorted, 0.5).toFixed(1)} ms, p99 ${quantile(sorted, 0.99).toFixed(1)} ms`,
    ...reasons,
  ].join("\n");
}
