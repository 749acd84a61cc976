import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { loadAuthority } from "#certs/authority/ca_files.ts";
import type { RotatingIdentity } from "#certs/identity/identity.ts";
import { controlId } from "#certs/identity/spiffe_id.ts";
import { PeerVerifier } from "#certs/workload/peer_verifier.ts";
import { clientTls } from "#certs/workload/tls.ts";
import { type ControlConfig, loadControlConfig } from "#cli/control/config.ts";
import { startIdentities } from "#cli/control/identities.ts";
import { badConfig, fail, missing, usage } from "#cli/exit.ts";
import { jsonLine } from "#cli/output.ts";
import { proxyLog } from "#cli/proxy/run.ts";
import { busDir, caDir, parentPath, storePath } from "#cli/state_dir.ts";
import { lockState } from "#cli/state_lock.ts";
import { ApiServer } from "#control/api/api_server.ts";
import { adminRoutes } from "#control/app/admin_routes.ts";
import { ControlService } from "#control/app/control_service.ts";
import { busPermissions } from "#control/authority/table.ts";
import type { HostPort } from "#control/config/schema.ts";
import { Store } from "#control/store/store.ts";
import { NatsBus } from "#discovery/bus/nats.ts";
import { findNatsServer } from "#discovery/bus/nats_binary.ts";
import type { BusUser } from "#discovery/bus/nats_config.ts";
import { NatsServer } from "#discovery/bus/nats_server.ts";
import { openAdmin } from "#kernel/admin_http.ts";
import { systemClock } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";
import { formatProblem } from "#kernel/result.ts";
import { systemRng } from "#kernel/rng.ts";
import { watchPath } from "#kernel/watch_path.ts";
import { type ClusterName, coreOf, type MeshName, parentOf } from "#model/names.ts";

/** Directory of the program: `.tools/` is looked for there. */
const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** A control service that has said it is ready. */
export interface RunningControl {
  stop(): Promise<void>;
}

/** A control service with its ports, its bus and its files. Wiring only. */
export async function startControl(path: string, state: string): Promise<RunningControl> {
  const log = proxyLog();
  const ports = { clock: systemClock, rng: systemRng(), log };
  const material = await loadAuthority(caDir(state));
  if (!material.ok) throw usage(material.error);
  const { cluster } = material.value;
  const config = await loadControlConfig(path, cluster);
  if (!config.ok) throw badConfig(config.error);
  const { mesh, spec, resources } = config.value;
  const binary = await findNatsServer(ROOT, process.env);
  if (!binary.ok) throw missing(binary.error);
  const lock = await lockState(state);
  if (!lock.ok) throw usage(lock.error);
  const parent = await parentPlaces(config.value, state);
  const identities = await startIdentities(caDir(state), material.value, parent?.api, ports);
  const { authority, identity } = identities;
  const store = Store.open(storePath(state), log);
  const server = await NatsServer.start(
    { ...ports, binary: binary.value, dir: busDir(state), ...spec.bus },
    identity.current(),
    busUsers(cluster, mesh, store),
  );
  if (!server.ok) throw usage(`spec.bus: ${server.error}`);
  const busPorts = { ...ports, identity };
  const bus = connectBus(`127.0.0.1:${server.value.port}`, cluster, busPorts);
  const parentBus =
    parent === undefined ? undefined : connectBus(parent.bus, parentOf(cluster, mesh)!, busPorts);
  const control = new ControlService({
    ...ports,
    mesh,
    cluster,
    spec,
    resources,
    store,
    boot: process.pid.toString(36) + Math.trunc(systemClock.wall()).toString(36),
    bus,
    ...(parentBus === undefined ? {} : { parentBus }),
  });
  const updateBus = (): Promise<void> =>
    server.value
      .update(identity.current(), busUsers(cluster, mesh, store))
      .catch((error: Error) => log.error("bus not updated", { error: error.message }));
  identity.onRotate(() => {
    void updateBus();
    bus.reconnect();
    parentBus?.reconnect();
  });
  const api = await ApiServer.open({
    ...ports,
    listen: spec.api,
    enrol: spec.enrol,
    identity,
    hub: control.hub,
    context: {
      mesh,
      cluster,
      authority,
      tokens: store,
      clock: systemClock,
      child: (label) => control.child(label),
      registerChild: async (label, tiers) => {
        control.registerChild({ label, tiers });
        await updateBus();
      },
      places: () => ({
        api: placeText({ ...spec.api, port: api.ok ? api.value.api.port : spec.api.port }),
        bus: placeText({ ...spec.bus, port: server.value.port }),
      }),
    },
  });
  const admin = await openAdmin({ ...spec.admin, routes: adminRoutes({ control, bus, api }) });
  const stop = async (): Promise<void> => {
    watcher.close();
    if (admin.ok) await admin.value.close();
    if (api.ok) api.value.close();
    control.close();
    identities.close();
    await bus.close();
    await parentBus?.close();
    await server.value.close();
    store.close();
    await lock.value.release();
  };
  const reload = (): void => void reloadConfig(path, cluster, control, log);
  const watcher = watchPath(path, { clock: systemClock, log, onChange: reload });
  if (!api.ok || !admin.ok) {
    await stop();
    throw usage(
      api.ok ? `spec.admin: ${admin.ok || admin.error}` : `spec.api, spec.enrol: ${api.error}`,
    );
  }
  process.on("SIGHUP", reload);
  jsonLine({ event: "ready", listener: "bus", address: spec.bus.address, port: server.value.port });
  jsonLine({ event: "ready", listener: "api", ...api.value.api });
  jsonLine({ event: "ready", listener: "enrol", ...api.value.enrol });
  jsonLine({
    event: "ready",
    listener: "admin",
    address: admin.value.address,
    port: admin.value.port,
  });
  return { stop };
}

async function reloadConfig(
  path: string,
  cluster: ClusterName,
  control: ControlService,
  log: Logger,
): Promise<void> {
  const config = await loadControlConfig(path, cluster);
  if (config.ok) {
    control.use(config.value.resources);
    return;
  }
  log.error("configuration refused; the old one stays in force", { path });
  for (const problem of config.error) log.error(formatProblem(problem));
}

/** Where the parent is: as the Cluster says, else as it was told when joining. */
async function parentPlaces(
  { name, mesh, spec }: ControlConfig,
  state: string,
): Promise<{ api: string; bus: string } | undefined> {
  if (name === coreOf(mesh)) return undefined;
  if (spec.parent !== undefined) {
    return { api: placeText(spec.parent.api), bus: placeText(spec.parent.bus) };
  }
  try {
    return JSON.parse(await readFile(parentPath(state), "utf8"));
  } catch {
    throw fail(`${name} has a parent: give spec.parent, or join with \`espalier join\``);
  }
}

/** This control service itself and every registered child. */
function busUsers(cluster: ClusterName, mesh: MeshName, store: Store): BusUser[] {
  const below = cluster === coreOf(mesh) ? mesh : cluster;
  return [
    { id: controlId(cluster), permissions: busPermissions("self", "") },
    ...store.children().map(({ label }) => ({
      id: controlId(`${label}.${below}` as ClusterName),
      permissions: busPermissions("child", label),
    })),
  ];
}

function connectBus(
  server: string,
  owner: ClusterName,
  ports: {
    clock: typeof systemClock;
    rng: ReturnType<typeof systemRng>;
    log: Logger;
    identity: RotatingIdentity;
  },
): NatsBus {
  const { identity, clock, rng, log } = ports;
  return new NatsBus({
    server,
    name: identity.current().cluster,
    clock,
    rng,
    log,
    tls: () => {
      const current = identity.current();
      return clientTls(current, new PeerVerifier(current.rootsPem, clock), controlId(owner));
    },
  });
}

function placeText({ address, port }: HostPort): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}
