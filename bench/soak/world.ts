import { CuttingRelay } from "#bench/soak/cutting_relay.ts";
import { Http2Origin, PlainOrigin } from "#bench/soak/origins.ts";
import { get } from "#test/kit/http.ts";
import { clusterYaml, ProcessMesh, serviceYaml } from "#test/kit/mesh_processes.ts";
import { type EspalierProcess, until } from "#test/kit/processes.ts";
import { metricOf } from "#test/kit/promtool.ts";
import { counterOf } from "#test/kit/proxy.ts";

/** What a process holds. */
export interface Footprint {
  readonly rssMb: number;
  readonly files: number;
}

/** A gateway of the soak, and what can be asked of it. */
export class WatchedGateway {
  readonly #admin: number;

  constructor(admin: number) {
    this.#admin = admin;
  }

  metrics(): Promise<string> {
    return get(this.#admin, { path: "/metrics", timeoutMs: 20_000 }).then(({ body }) => body);
  }

  async footprint(): Promise<Footprint> {
    const text = await this.metrics();
    const of = (name: string): number => metricOf(text, `${name}{process="main"}`) ?? 0;
    return {
      rssMb: Math.round(of("process_resident_memory_bytes") / 1_048_576),
      files: of("process_open_fds"),
    };
  }

  /** Nothing runs and nobody is connected. */
  async isStill(): Promise<boolean> {
    const text = await this.metrics();
    const busy = counterOf(text, "espalier_upstream_connections", 'state="busy"');
    return counterOf(text, "espalier_requests_inflight") + busy === 0;
  }
}

/** Two clusters of processes: a store whose gateway asks the core's over a link of mTLS. Every way can be cut. */
export class SoakWorld {
  readonly gateways: Readonly<Record<"near" | "far", WatchedGateway>>;
  /** Entrances: through both gateways, and through the core's alone. */
  readonly ports: readonly [number, number];
  readonly relays: Readonly<
    Record<"clients" | "direct" | "link" | "plain" | "http2", CuttingRelay>
  >;
  readonly #mesh: ProcessMesh;
  readonly #origins: ReadonlyArray<{ stop(): void }>;

  private constructor(
    mesh: ProcessMesh,
    parts: Pick<SoakWorld, "gateways" | "ports" | "relays">,
    origins: ReadonlyArray<{ stop(): void }>,
  ) {
    this.#mesh = mesh;
    this.gateways = parts.gateways;
    this.ports = parts.ports;
    this.relays = parts.relays;
    this.#origins = origins;
  }

  static async open(): Promise<SoakWorld> {
    const [plain, http2] = [new PlainOrigin(), new Http2Origin()];
    const relays = {
      ...{ clients: new CuttingRelay(), direct: new CuttingRelay(), link: new CuttingRelay() },
      ...{ plain: new CuttingRelay(), http2: new CuttingRelay() },
    };
    relays.plain.target = await plain.start();
    relays.http2.target = await http2.start();
    const link = await relays.link.listen();
    const mesh = await ProcessMesh.create();
    const core = await mesh.core({
      "cluster.yaml": clusterYaml("core.acme.mesh", { advertise: link }),
      "menu.yaml": serviceYaml("menu", await relays.plain.listen()),
      "calls.yaml": serviceYaml("calls", await relays.http2.listen()).replace(
        "port: 80 }",
        "port: 80, appProtocol: grpc }",
      ),
    });
    const near = await mesh.child("store-1.acme.mesh", core, {
      "cluster.yaml": clusterYaml("store-1.acme.mesh"),
    });
    const [farGateway, nearGateway] = [await core.startGateway(), await near.startGateway()];
    relays.link.target = (await farGateway.ready("mesh")).port;
    relays.clients.target = (await nearGateway.ready("default/ingress/http")).port;
    relays.direct.target = (await farGateway.ready("default/ingress/http")).port;
    const ports = [await relays.clients.listen(), await relays.direct.listen()] as const;
    for (const port of ports) await answers(port);
    const gateways = { near: await watch(nearGateway), far: await watch(farGateway) };
    return new SoakWorld(mesh, { gateways, ports, relays }, [plain, http2]);
  }

  async close(): Promise<void> {
    for (const relay of Object.values(this.relays)) relay.close();
    for (const origin of this.#origins) origin.stop();
    await this.#mesh.stop();
  }
}

async function watch(gateway: EspalierProcess): Promise<WatchedGateway> {
  return new WatchedGateway((await gateway.ready("admin")).port);
}

async function answers(port: number): Promise<void> {
  for (const host of ["menu.shop.svc.acme.mesh", "calls.shop.svc.acme.mesh"]) {
    await until(`${host} answers`, async () => {
      const answer = await get(port, { host, path: "/1/10" }).catch(() => undefined);
      return answer?.status === 200;
    });
  }
}
