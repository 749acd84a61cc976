import { meshOf } from "#certs/x509/root.ts";
import type { ProxyOptions } from "#cli/commands/proxy.ts";
import { usage } from "#cli/exit.ts";
import { jsonLine } from "#cli/output.ts";
import {
  localPlane,
  mainPlane,
  type ProxyStart,
  type RunningProxy,
  runProxy,
} from "#cli/proxy/run.ts";
import { VERSION } from "#cli/version.ts";
import { systemClock } from "#kernel/clock.ts";
import { type ClusterName, parseServiceName } from "#model/names.ts";
import type { LocalPlane } from "#proxy/app/local_plane.ts";
import { ProxyProcess } from "#proxy/app/proxy_process.ts";
import { inboundSnapshot, withOutbound } from "#proxy/app/sidecar.ts";
import { INBOUND_LABELS, SidecarPlane } from "#proxy/app/sidecar_plane.ts";
import { FixedSource, MappedSource } from "#proxy/subscribe/mapped_source.ts";

/** Where a workload sends its requests, if nothing else is said. */
const OUTBOUND = { address: "127.0.0.1", port: 15_001 };

/** The proxy beside one workload: mTLS in for it, and a plain port out to the whole mesh. */
export async function runSidecar(
  start: ProxyStart & { readonly options: ProxyOptions },
): Promise<RunningProxy> {
  const { options, source } = start;
  const main = mainPlane(start);
  const inbound = await startInbound(start, options);
  const listen = options.outbound ?? OUTBOUND;
  const outbound = await runProxy({
    ...start,
    plane: inbound === undefined ? main : new SidecarPlane(main, inbound.plane),
    otherPorts: inbound?.ports ?? [],
    source: new MappedSource(source, (snapshot) => withOutbound(snapshot, listen)),
  });
  return {
    ended: outbound.ended,
    reopenLogs: () => outbound.reopenLogs(),
    stop: async (maxMs) => {
      await Promise.all([outbound.stop(maxMs), inbound?.stop(maxMs)]);
    },
  };
}

/** The half that lets the mesh in. */
interface Inbound {
  readonly plane: LocalPlane;
  readonly ports: readonly number[];
  stop(maxMs: number): Promise<void>;
}

async function startInbound(
  start: ProxyStart,
  options: ProxyOptions,
): Promise<Inbound | undefined> {
  const { inbound, app, service } = options;
  if (inbound === undefined && app === undefined && service === undefined) return undefined;
  if (inbound === undefined || app === undefined || service === undefined) {
    throw usage("--inbound, --app and --service belong together");
  }
  const name = parseServiceName(service);
  if (!name.ok) throw usage(`--service: ${name.error}`);
  const cluster: ClusterName = start.identity!.current().cluster;
  const mesh = meshOf(start.identity!.current().rootsPem);
  if (!mesh.ok) throw usage(`--state: ${mesh.error}`);
  const snapshot = inboundSnapshot({
    mesh: mesh.value,
    cluster,
    service: name.value,
    listen: inbound,
    app,
  });
  const plane = localPlane(start, { labels: INBOUND_LABELS });
  const source = new FixedSource(snapshot);
  const { log } = start;
  const proxy = new ProxyProcess({ clock: systemClock, plane, source, log, version: VERSION });
  proxy.start();
  const [listener] = await proxy.settled();
  if (listener?.bound === undefined) {
    await proxy.stop(0);
    throw usage(`--inbound: ${listener?.problem}`);
  }
  jsonLine({ event: "ready", listener: listener.name, ...listener.bound });
  return {
    plane,
    ports: [listener.bound.port],
    stop: (maxMs) => proxy.stop(maxMs),
  };
}
