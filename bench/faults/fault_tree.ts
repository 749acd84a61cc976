import type { LimitedOrigin } from "#bench/faults/limited_origin.ts";
import { WanLine } from "#bench/faults/wan_line.ts";
import { get } from "#test/kit/http.ts";
import { clusterYaml, type ProcessCluster, ProcessMesh } from "#test/kit/mesh_processes.ts";
import { freePort } from "#test/kit/ports.ts";
import { type EspalierProcess, espalier, until } from "#test/kit/processes.ts";

const MESH = "acme.mesh";

/** A cluster of the tree: its name without the mesh, and how far away it is from every other one. */
export interface TreePlace {
  readonly name: string;
  /** Of each byte that others send to its gateway or get from it. */
  readonly delayMs: number;
}

/** A service and where it is: endpoints per cluster. */
export interface TreeService {
  readonly name: string;
  readonly origins: Readonly<Record<string, LimitedOrigin>>;
  /** Concurrent requests of one endpoint, as declared; absent: nothing is declared. */
  readonly capacity?: number;
}

/** A cluster's processes, and the way to its gateway. */
export class TreeCluster {
  readonly processes: ProcessCluster;
  readonly line: WanLine;
  gateway!: EspalierProcess;

  constructor(processes: ProcessCluster, line: WanLine) {
    this.processes = processes;
    this.line = line;
  }

  /** Starts its gateway, or the next one in place of a dead one. */
  async startGateway(): Promise<void> {
    this.gateway = await this.processes.startGateway();
    this.line.target = (await this.gateway.ready("mesh")).port;
  }

  /** Where its clients ask. */
  async entrance(): Promise<number> {
    return (await this.gateway.ready("default/ingress/http")).port;
  }

  async admin(path: string): Promise<string> {
    const { port } = await this.gateway.ready("admin");
    return (await get(port, { path })).body;
  }
}

/** A real tree: a control service, a nats-server and a gateway per cluster, with long ways between the clusters. */
export class FaultTree {
  readonly #mesh: ProcessMesh;
  readonly #clusters: ReadonlyMap<string, TreeCluster>;

  private constructor(mesh: ProcessMesh, clusters: ReadonlyMap<string, TreeCluster>) {
    this.#mesh = mesh;
    this.#clusters = clusters;
  }

  /** @param places parents before their children. @param extra more YAML of a cluster. */
  static async open(
    places: readonly TreePlace[],
    services: readonly TreeService[],
    extra: Readonly<Record<string, string>> = {},
  ): Promise<FaultTree> {
    const mesh = await ProcessMesh.create();
    const clusters = new Map<string, TreeCluster>();
    for (const { name, delayMs } of places) {
      const full = `${name}.${MESH}`;
      const line = new WanLine(delayMs);
      const ports = { bus: await freePort(), api: await freePort() };
      const files = {
        "cluster.yaml": clusterYaml(full, { ...ports, advertise: await line.listen() }),
        "services.yaml": `${servicesOf(name, services)}${extra[name] ?? ""}`,
      };
      const above = parentOf(name);
      const parent = clusters.get(above)?.processes;
      const tiers = places.some((other) => other !== undefined && parentOf(other.name) === name);
      const processes =
        parent === undefined
          ? await mesh.core(files)
          : await mesh.child(full, parent, files, tiers ? 1 : 0);
      clusters.set(name, new TreeCluster(processes, line));
    }
    const tree = new FaultTree(mesh, clusters);
    await Promise.all([...clusters.values()].map((cluster) => cluster.startGateway()));
    return tree;
  }

  at(name: string): TreeCluster {
    const cluster = this.#clusters.get(name);
    if (cluster === undefined) throw new Error(`no cluster ${name}`);
    return cluster;
  }

  /** Waits until who asks at `from` is answered by one of `by` alone, many times in a row. */
  async settled(from: string, service: string, by: readonly string[]): Promise<void> {
    const port = await this.at(from).entrance();
    let inRow = 0;
    const what = `${service} is answered by ${by.join(" or ")}`;
    await until(
      what,
      async () => {
        const answer = await get(port, { host: hostOf(service) }).catch(() => undefined);
        const isRight =
          answer?.status === 200 && by.includes(answer.headers["x-served-by"]?.toString() ?? "");
        inRow = isRight ? inRow + 1 : 0;
        return inRow >= SETTLED_AFTER;
      },
      60_000,
    );
  }

  /** `espalier cluster drain NAME`, or `undrain`, said to the core. */
  async order(verb: "drain" | "undrain", name: string): Promise<void> {
    const { port } = await this.at("core").processes.control.ready("admin");
    const admin = ["--admin", `127.0.0.1:${port}`];
    const { code, err } = await espalier("cluster", verb, `${name}.${MESH}`, ...admin);
    if (code !== 0) throw new Error(err);
  }

  async close(): Promise<void> {
    for (const { line } of this.#clusters.values()) line.close();
    await this.#mesh.stop();
  }
}

/** A policy by which clients of a service say the classes of their requests, in a header. */
export function classesOf(service: string): string {
  return `apiVersion: espalier.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: classes, namespace: shop }
spec:
  targetRef: { group: espalier.dev, kind: Service, name: ${service} }
  priority: { header: x-priority }
`;
}

/** At 20 ms each: longer than a ramp. */
const SETTLED_AFTER = 75;

/** Address of a service of the tree. */
export function hostOf(service: string): string {
  return `${service}.shop.svc.${MESH}`;
}

function parentOf(name: string): string {
  const rest = name.split(".").slice(1).join(".");
  if (rest !== "") return rest;
  return name === "core" ? "" : "core";
}

function servicesOf(cluster: string, services: readonly TreeService[]): string {
  return services
    .flatMap(({ name, origins, capacity }) => {
      const ports = origins[cluster]?.ports ?? [];
      if (ports.length === 0) return [];
      const endpoints = ports.map((port) => `{ address: 127.0.0.1, port: ${port} }`).join(", ");
      return [
        `apiVersion: espalier.dev/v1alpha1
kind: Service
metadata: { name: ${name}, namespace: shop }
spec:
  ports: [{ port: 80 }]
  endpoints: [${endpoints}]
${capacity === undefined ? "" : `  capacity: ${capacity}\n`}---
apiVersion: multicluster.x-k8s.io/v1alpha1
kind: ServiceExport
metadata: { name: ${name}, namespace: shop }
---
`,
      ];
    })
    .join("");
}
