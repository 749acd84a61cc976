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
import type { Snapshot } from "#model/snapshot.ts";
import type { LocalPlane } from "#proxy/app/local_plane.ts";
import { ProxyProcess } from "#proxy/app/proxy_process.ts";
import { inboundSnapshot, withOutbound } from "#proxy/app/sidecar.ts";
import { INBOUND_LABELS, SidecarPlane } from "#proxy/app/sidecar_plane.ts";
import { MappedSource, OwnSource } from "#proxy/subscribe/mapped_source.ts";

/** Where a workload sends its requests, if nothing else is said. */
const OUTBOUND = { address: "127.0.0.1", port: 15_001 };

/** What a sidecar is made of. */
interface SidecarStart extends ProxyStart {
  readonly options: ProxyOptions;
  /** The last good snapshot; absent: there is none yet. */
  readonly lastGood?: Snapshot | undefined;
}

/** The proxy beside one workload: mTLS in for it, and a plain port out to the whole mesh. */
export async function runSidecar(start: SidecarStart): Promise<RunningProxy> {
  const { options, source } = start;
  const main = mainPlane(start);
  const inbound = await startInbound(start);
  const listen = options.outbound ?? OUTBOUND;
  const outbound = await runProxy({
    ...start,
    plane: inbound === undefined ? main : new SidecarPlane(main, inbound.plane),
    otherPorts: inbound?.ports ?? [],
    source: new MappedSource(source, (snapshot) => {
      inbound?.follow(snapshot);
      return withOutbound(snapshot, listen);
    }),
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
  /** Does for the workload what the control service says of its service. */
  follow(snapshot: Snapshot): void;
  stop(maxMs: number): Promise<void>;
}

async function startInbound(start: SidecarStart): Promise<Inbound | undefined> {
  const { inbound, app, service } = start.options;
  if (inbound === undefined && app === undefined && service === undefined) return undefined;
  if (inbound === undefined || app === undefined || service === undefined) {
    throw usage("--inbound, --app and --service belong together");
  }
  const name = parseServiceName(service);
  if (!name.ok) throw usage(`--service: ${name.error}`);
  const cluster: ClusterName = start.identity!.current().cluster;
  const mesh = meshOf(start.identity!.current().rootsPem);
  if (!mesh.ok) throw usage(`--state: ${mesh.error}`);
  const own = { mesh: mesh.value, cluster, service: name.value, listen: inbound, app };
  const saidIn = (snapshot: Snapshot | undefined) =>
    snapshot?.services.find((known) => known.name === own.service);
  const source = new OwnSource(inboundSnapshot(own, saidIn(start.lastGood)));
  const plane = localPlane(start, { labels: INBOUND_LABELS });
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
    follow: (snapshot) => {
      const said = saidIn(snapshot);
      // Of a service that is taken away the last word holds: whoever is still being served is served to the end.
      if (said !== undefined) source.put(inboundSnapshot(own, said));
    },
    stop: (maxMs) => proxy.stop(maxMs),
  };
}
