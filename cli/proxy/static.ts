import { badConfig } from "#cli/exit.ts";
import { type ProxyRunOptions, proxyLog, type RunningProxy, runProxy } from "#cli/proxy/run.ts";
import { beginSuccession } from "#cli/proxy/succession.ts";
import { listenerName } from "#control/compile/listeners.ts";
import { compileStatic } from "#control/compile/static.ts";
import { loadResources } from "#control/config/load.ts";
import { referenceProblems } from "#control/config/references.ts";
import { problemAt, type Resources } from "#control/config/resources.ts";
import { systemClock } from "#kernel/clock.ts";
import { err, ok, type Problem, type Result } from "#kernel/result.ts";
import type { Snapshot } from "#model/snapshot.ts";
import type { ListenerStatus } from "#proxy/app/data_plane.ts";
import { FileSource } from "#proxy/subscribe/file_source.ts";

interface Loaded {
  readonly resources: Resources;
  readonly snapshot: Snapshot;
}

/** `espalier proxy -f FILE`: a proxy with a file and no control service. */
export async function startStatic(options: ProxyRunOptions, path: string): Promise<RunningProxy> {
  const loaded = await load(path);
  if (!loaded.ok) throw badConfig(loaded.error);
  const log = proxyLog();
  const succession = await beginSuccession(path, log);
  const source = new FileSource({
    path,
    first: loaded.value.snapshot,
    load: async () => {
      const again = await load(path);
      return again.ok ? ok(again.value.snapshot) : again;
    },
    clock: systemClock,
    log,
  });
  const running = await runProxy({
    options,
    log,
    source,
    succession,
    failure: (failed) => badConfig(portProblems(failed, loaded.value.resources)),
  });
  process.on("SIGHUP", () => void source.reload());
  return running;
}

async function load(path: string): Promise<Result<Loaded, readonly Problem[]>> {
  const resources = await loadResources(path);
  if (!resources.ok) return resources;
  const problems = [
    ...referenceProblems(resources.value, { elsewhere: new Set() }),
    ...onlyForMeshes(resources.value, path),
  ];
  if (problems.length > 0) return err(problems);
  return ok({ resources: resources.value, snapshot: compileStatic(resources.value) });
}

/** What a proxy by itself cannot do must not look as if it did. */
function onlyForMeshes(resources: Resources, path: string): Problem[] {
  const problems: Problem[] = [];
  const say = (kind: string): string => `a ${kind} needs a control service, not a proxy by itself`;
  for (const { origin } of resources.clusters) {
    problems.push(problemAt(origin, ["kind"], say("Cluster")));
  }
  for (const { origin } of resources.exports) {
    problems.push(problemAt(origin, ["kind"], say("ServiceExport")));
  }
  for (const { spec, origin } of resources.services) {
    spec.endpoints.forEach(({ identity }, i) => {
      if (identity === undefined) return;
      problems.push(problemAt(origin, ["spec", "endpoints", i, "identity"], say("mesh identity")));
    });
  }
  if (resources.gateways.length === 0) {
    problems.push({ source: path, path: "", message: "no Gateway: nothing to listen on" });
  }
  return problems;
}

function portProblems(failed: readonly ListenerStatus[], resources: Resources): Problem[] {
  return failed.map(({ name, problem }) => {
    for (const gateway of resources.gateways) {
      const at = gateway.spec.listeners.findIndex((l) => listenerName(gateway, l.name) === name);
      if (at < 0) continue;
      return problemAt(gateway.origin, ["spec", "listeners", at, "port"], problem!);
    }
    return { source: name, path: "", message: problem! };
  });
}
