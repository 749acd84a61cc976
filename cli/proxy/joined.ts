import { mkdir } from "node:fs/promises";
import { roleOf } from "#certs/identity/spiffe_id.ts";
import type { ProxyOptions } from "#cli/commands/proxy.ts";
import { startIdentity } from "#cli/proxy/identity.ts";
import { proxyLog, type RunningProxy, runProxy } from "#cli/proxy/run.ts";
import { runSidecar } from "#cli/proxy/sidecar.ts";
import { beginSuccession } from "#cli/proxy/succession.ts";
import { snapshotPath } from "#cli/state_dir.ts";
import { VERSION } from "#cli/version.ts";
import { systemClock } from "#kernel/clock.ts";
import { systemRng } from "#kernel/rng.ts";
import { ControlSource } from "#proxy/subscribe/control_source.ts";
import { LastGood, LastGoodSource } from "#proxy/subscribe/last_good.ts";

/** `espalier proxy --state DIR`: a proxy of a cluster, gateway or sidecar as its identity says. */
export async function startJoined(options: ProxyOptions, state: string): Promise<RunningProxy> {
  const log = proxyLog();
  const { identity, api, stop } = await startIdentity(state, options.control, log);
  await mkdir(state, { recursive: true, mode: 0o700 });
  const store = new LastGood(snapshotPath(state), log);
  const first = await store.load();
  const live = new ControlSource({
    control: options.control ?? api,
    identity,
    version: VERSION,
    clock: systemClock,
    rng: systemRng(),
    log,
  });
  const source = new LastGoodSource(live, store, first);
  const report = (...said: Parameters<ControlSource["report"]>): void => live.report(...said);
  const isGateway = roleOf(identity.current().id) === "gateway";
  const succession = await beginSuccession(state, log);
  const base = { options, log, identity, source, report, succession };
  const running = isGateway ? await runProxy(base) : await runSidecar({ ...base, lastGood: first });
  return {
    ended: running.ended,
    reopenLogs: () => running.reopenLogs(),
    stop: async (maxMs) => {
      await running.stop(maxMs);
      stop();
    },
  };
}
