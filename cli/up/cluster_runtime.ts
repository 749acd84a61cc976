import { ClusterAuthority, createMesh } from "#certs/authority/cluster_authority.ts";
import { newRequest } from "#certs/authority/keys.ts";
import { renewLeafAt } from "#certs/authority/profiles.ts";
import { RotatingIdentity } from "#certs/identity/identity.ts";
import { controlId, gatewayId } from "#certs/identity/spiffe_id.ts";
import { Renewer } from "#certs/workload/renewer.ts";
import type { PlannedCluster } from "#cli/up/tree_problems.ts";
import { VERSION } from "#cli/version.ts";
import { ControlService } from "#control/app/control_service.ts";
import { busPermissions } from "#control/authority/table.ts";
import { Store } from "#control/store/store.ts";
import { type BusLink, MemoryBroker } from "#discovery/bus/memory.ts";
import type { Clock } from "#kernel/clock.ts";
import type { LeveledLogger } from "#kernel/log.ts";
import { ok } from "#kernel/result.ts";
import type { Rng } from "#kernel/rng.ts";
import { firstLabel } from "#model/names.ts";
import { LocalPlane } from "#proxy/app/local_plane.ts";
import { ProxyProcess } from "#proxy/app/proxy_process.ts";
import type { LineLog } from "#proxy/observe/line_log.ts";
import { DirectSource } from "#proxy/subscribe/direct_source.ts";

/** Effects that every cluster of a tree shares. */
export interface RuntimePorts {
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: LeveledLogger;
  /** Of each gateway; undefined: nothing is written down. */
  readonly newAccessLog?: () => LineLog;
  /** Failure domain that they all stand in. */
  readonly zone?: string | undefined;
}

/** One cluster of a tree in one process: authority, bus, control service, gateway. */
export class ClusterRuntime {
  readonly planned: PlannedCluster;
  readonly authority: ClusterAuthority;
  readonly broker: MemoryBroker;
  readonly control: ControlService;
  readonly #ports: RuntimePorts;
  readonly #store: Store;
  readonly #buses: Array<{ close(): Promise<void> }>;
  readonly #parent: ClusterRuntime | undefined;
  #gateway: Gateway | undefined = undefined;

  private constructor(
    planned: PlannedCluster,
    authority: ClusterAuthority,
    parent: ClusterRuntime | undefined,
    ports: RuntimePorts,
  ) {
    this.planned = planned;
    this.authority = authority;
    this.#parent = parent;
    this.#ports = ports;
    const { name, mesh, spec, resources } = planned;
    this.broker = new MemoryBroker(ports);
    this.#store = Store.open(":memory:", ports.log);
    const bus = this.broker.connect(controlId(name), busPermissions("self", ""));
    const parentBus = parent?.broker.connect(
      controlId(name),
      busPermissions("child", firstLabel(name)),
    );
    this.#buses = parentBus === undefined ? [bus] : [bus, parentBus];
    this.control = new ControlService({
      ...ports,
      mesh,
      cluster: name,
      spec,
      resources,
      store: this.#store,
      boot: "up",
      bus,
      ...(parentBus === undefined ? {} : { parentBus }),
    });
  }

  static async start(
    planned: PlannedCluster,
    parent: ClusterRuntime | undefined,
    ports: RuntimePorts,
  ): Promise<ClusterRuntime> {
    const authority = await authorityOf(planned, parent, ports.clock);
    parent?.control.registerChild({ label: firstLabel(planned.name), tiers: planned.tiers });
    const runtime = new ClusterRuntime(planned, authority, parent, ports);
    await runtime.startGateway();
    return runtime;
  }

  get gateway(): Gateway | undefined {
    return this.#gateway;
  }

  /** What is wrong with the link to the parent's bus, to be changed at will; undefined in the core. */
  get parentLink(): BusLink | undefined {
    return this.#parent?.broker.link(controlId(this.planned.name));
  }

  async startGateway(): Promise<void> {
    const { name } = this.planned;
    const identity = await this.authority.ownIdentity(gatewayId(name));
    if (!identity.ok) throw new Error(identity.error);
    this.#gateway = new Gateway(this, new RotatingIdentity(identity.value), this.#ports);
    await this.#gateway.started;
  }

  /** @param maxMs for running requests; 0 cuts them off, as a crash would. */
  async stopGateway(maxMs: number): Promise<void> {
    const gateway = this.#gateway;
    this.#gateway = undefined;
    await gateway?.stop(maxMs);
  }

  async close(maxMs: number): Promise<void> {
    await this.stopGateway(maxMs);
    this.control.close();
    this.#store.close();
    for (const bus of this.#buses) await bus.close();
  }
}

/** The gateway proxy of a cluster in this process. */
export class Gateway {
  readonly plane: LocalPlane;
  readonly process: ProxyProcess;
  readonly started: Promise<void>;
  readonly #renewer: Renewer;

  constructor(runtime: ClusterRuntime, identity: RotatingIdentity, ports: RuntimePorts) {
    const { name } = runtime.planned;
    const { hub } = runtime.control;
    const accessLog = ports.newAccessLog?.();
    this.plane = new LocalPlane({
      ...ports,
      cluster: name,
      identity,
      reusePort: false,
      // All gateways of the tree are in one exposition.
      labels: { at: name },
      ...(accessLog && { accessLog }),
    });
    const source = new DirectSource((deliver) =>
      hub.subscribe(gatewayId(name), "gateway", deliver),
    );
    this.process = new ProxyProcess({
      clock: ports.clock,
      plane: this.plane,
      log: ports.log,
      version: VERSION,
      source,
      report: (reports, mesh) => source.report(reports, mesh),
    });
    this.#renewer = new Renewer({
      ...ports,
      what: `identity of ${name}`,
      current: () => identity.current(),
      renewAt: renewLeafAt,
      renew: async () => {
        const renewed = await runtime.authority.ownIdentity(gatewayId(name));
        if (!renewed.ok) return renewed;
        identity.rotate(renewed.value);
        return ok(undefined);
      },
    });
    this.process.start();
    this.started = this.process.started.then(() => this.process.report());
  }

  async stop(maxMs: number): Promise<void> {
    this.#renewer.close();
    await this.process.stop(maxMs);
  }
}

/** A tree in one process is made anew at each start: so is its root. */
async function authorityOf(
  { name, mesh, tiers }: PlannedCluster,
  parent: ClusterRuntime | undefined,
  clock: Clock,
): Promise<ClusterAuthority> {
  if (parent === undefined) return new ClusterAuthority(await createMesh(mesh, clock), clock);
  const { csrPem, keyPem } = await newRequest();
  const signed = await parent.authority.signChild(csrPem, name, tiers);
  if (!signed.ok) throw new Error(signed.error);
  const { rootsPem } = parent.authority;
  const material = { mesh, cluster: name, chainPem: signed.value.chainPem, keyPem, rootsPem };
  return new ClusterAuthority(material, clock);
}
