import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { loadAuthority } from "#certs/authority/ca_files.ts";
import type { AuthorityMaterial } from "#certs/authority/cluster_authority.ts";
import { ClusterBus } from "#cli/control/cluster_bus.ts";
import { type ControlConfig, loadControlConfig } from "#cli/control/config.ts";
import { type Identities, startIdentities } from "#cli/control/identities.ts";
import { badConfig, fail, missing, usage } from "#cli/exit.ts";
import { jsonLine } from "#cli/output.ts";
import { proxyLog } from "#cli/proxy/run.ts";
import { busDir, caDir, parentPath, storePath } from "#cli/state_dir.ts";
import { lockState, type StateLock } from "#cli/state_lock.ts";
import { VERSION } from "#cli/version.ts";
import { ApiServer } from "#control/api/api_server.ts";
import { adminRoutes } from "#control/app/admin_routes.ts";
import { ControlService } from "#control/app/control_service.ts";
import type { HostPort } from "#control/config/scalars.ts";
import { Store } from "#control/store/store.ts";
import { findNatsServer } from "#discovery/bus/nats_binary.ts";
import { type AdminServer, openAdmin } from "#kernel/admin_http.ts";
import { systemClock } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";
import { formatProblems } from "#kernel/result.ts";
import { systemRng } from "#kernel/rng.ts";
import { watchPath } from "#kernel/watch_path.ts";
import { type ClusterName, coreOf } from "#model/names.ts";

/** Directory of the program: `.tools/` is looked for there. */
const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** A control service that has said it is ready. */
export interface RunningControl {
  stop(): Promise<void>;
}

/** What must be right before anything is started. */
interface Inputs {
  readonly material: AuthorityMaterial;
  readonly config: ControlConfig;
  readonly parent: { readonly api: string; readonly bus: string } | undefined;
  readonly natsServer: string;
  readonly lock: StateLock;
}

/** What runs besides its ports. */
interface Parts {
  readonly control: ControlService;
  readonly bus: ClusterBus;
  readonly identities: Identities;
  readonly store: Store;
  readonly log: Logger;
}

/** A control service with its ports, its bus and its files. Wiring only. */
export async function startControl(path: string, state: string): Promise<RunningControl> {
  const log = proxyLog();
  const inputs = await readInputs(path, state);
  const parts = await startParts(inputs, state, log);
  const { api, admin } = await openPorts(inputs.config, parts);
  const { cluster } = parts.control;
  const reload = (): void => void reloadConfig(path, cluster, parts.control, log);
  const watcher = watchPath(path, { clock: systemClock, log, onChange: reload });
  process.on("SIGHUP", reload);
  const { bus } = inputs.config.spec;
  jsonLine({ event: "ready", listener: "bus", address: bus.address, port: parts.bus.port });
  jsonLine({ event: "ready", listener: "api", ...api.api });
  jsonLine({ event: "ready", listener: "enrol", ...api.enrol });
  const { address, port } = admin;
  jsonLine({ event: "ready", listener: "admin", address, port });
  return {
    stop: async () => {
      watcher.close();
      await admin.close();
      api.close();
      parts.control.close();
      parts.identities.close();
      await parts.bus.close();
      parts.store.close();
      await inputs.lock.release();
    },
  };
}

async function readInputs(path: string, state: string): Promise<Inputs> {
  const material = await loadAuthority(caDir(state));
  if (!material.ok) throw usage(material.error);
  const config = await loadControlConfig(path, material.value.cluster);
  if (!config.ok) throw badConfig(config.error);
  const parent = await parentPlaces(config.value, state);
  const natsServer = await findNatsServer(ROOT, process.env);
  if (!natsServer.ok) throw missing(natsServer.error);
  const lock = await lockState(state);
  if (!lock.ok) throw usage(lock.error);
  return {
    material: material.value,
    config: config.value,
    parent,
    natsServer: natsServer.value,
    lock: lock.value,
  };
}

async function startParts(inputs: Inputs, state: string, log: Logger): Promise<Parts> {
  const { material, config, parent, natsServer } = inputs;
  const { name: cluster, mesh, spec, resources } = config;
  const ports = { clock: systemClock, rng: systemRng(), log };
  const identities = await startIdentities(caDir(state), material, parent?.api, ports);
  const store = Store.open(storePath(state), log);
  const bus = await ClusterBus.open({
    ...ports,
    mesh,
    cluster,
    identity: identities.identity,
    store,
    binary: natsServer,
    dir: busDir(state),
    listen: spec.bus,
    parent: parent?.bus,
  });
  if (!bus.ok) throw usage(`spec.bus: ${bus.error}`);
  const control = new ControlService({
    ...ports,
    mesh,
    cluster,
    spec,
    resources,
    store,
    boot: process.pid.toString(36) + Math.trunc(systemClock.wall()).toString(36),
    bus: bus.value.own,
    ...(bus.value.parent === undefined ? {} : { parentBus: bus.value.parent }),
  });
  return { control, bus: bus.value, identities, store, log };
}

async function openPorts(
  { name: cluster, mesh, spec }: ControlConfig,
  { control, bus, identities, store, log }: Parts,
): Promise<{ api: ApiServer; admin: AdminServer }> {
  const api = await ApiServer.open({
    clock: systemClock,
    log,
    listen: spec.api,
    enrol: spec.enrol,
    identity: identities.identity,
    hub: control.hub,
    context: {
      mesh,
      cluster,
      authority: identities.authority,
      tokens: store,
      clock: systemClock,
      child: (label) => control.child(label),
      registerChild: async (label, tiers) => {
        control.registerChild({ label, tiers });
        await bus.update();
      },
      places: () => ({
        api: placeText({ ...spec.api, port: api.ok ? api.value.api.port : spec.api.port }),
        bus: placeText({ ...spec.bus, port: bus.port }),
      }),
    },
  });
  const admin = await openAdmin({
    ...spec.admin,
    routes: adminRoutes({ control, bus: bus.own, ...identities, api, version: VERSION }),
  });
  if (api.ok && admin.ok) return { api: api.value, admin: admin.value };
  // The nats-server is a process of its own: it must not stay when we go.
  await bus.close();
  if (!api.ok) throw usage(`spec.api, spec.enrol: ${api.error}`);
  throw usage(`spec.admin: ${admin.ok ? "" : admin.error}`);
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
  for (const problem of formatProblems(config.error)) log.error(problem);
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

function placeText({ address, port }: HostPort): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}
