import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EspalierProcess, espalier } from "#test/kit/processes.ts";

/** A cluster of separate processes: its control service with a nats-server, its proxies, its files. */
export class ProcessCluster {
  readonly name: string;
  readonly dir: string;
  readonly state: string;
  readonly config: string;
  control!: EspalierProcess;
  readonly #proxies: EspalierProcess[] = [];
  /** States of proxies that have joined. */
  readonly #joined = new Set<string>();

  constructor(name: string, dir: string) {
    this.name = name;
    this.dir = join(dir, name);
    this.state = join(this.dir, "state");
    this.config = join(this.dir, "config");
  }

  /** Writes or replaces one file of its configuration. */
  async configure(file: string, text: string): Promise<void> {
    await mkdir(this.config, { recursive: true });
    await writeFile(join(this.config, file), text);
  }

  async startControl(): Promise<void> {
    this.control = new EspalierProcess(["control", "-f", this.config, "--state", this.state]);
    await this.control.ready("admin");
  }

  /** A token of this cluster, for what `flags` say. */
  async token(...flags: string[]): Promise<string> {
    const { port } = await this.control.ready("enrol");
    const args = ["token", "create", "--state", this.state, "--enrol", `127.0.0.1:${port}`];
    const { code, out, err } = await espalier(...args, ...flags);
    if (code !== 0) throw new Error(err);
    return out.trim();
  }

  /** Starts this cluster's gateway; again on the state of the one before. */
  async startGateway(): Promise<EspalierProcess> {
    const state = join(this.dir, "gateway");
    await this.#join(state, "--gateway");
    const gateway = new EspalierProcess(["proxy", "--state", state, "--admin", "127.0.0.1:0"]);
    this.#proxies.push(gateway);
    await gateway.ready("mesh");
    return gateway;
  }

  /** Starts a workload's proxy; again on the state of the one before. */
  async startSidecar(account: string, ...flags: string[]): Promise<EspalierProcess> {
    const state = join(this.dir, `sidecar-${account}`);
    await this.#join(state, "--workload", `shop/${account}`);
    const args = ["proxy", "--state", state, "--admin", "127.0.0.1:0"];
    const sidecar = new EspalierProcess([...args, ...flags]);
    this.#proxies.push(sidecar);
    await sidecar.ready("outbound");
    return sidecar;
  }

  /** The nats-server's process id. */
  async busPid(): Promise<number> {
    return Number(await readFile(join(this.state, "bus", "nats-server.pid"), "utf8"));
  }

  async #join(state: string, ...flags: string[]): Promise<void> {
    if (this.#joined.has(state)) return;
    this.#joined.add(state);
    await join_(await this.token(...flags), state);
  }

  async stop(): Promise<void> {
    for (const proxy of this.#proxies) proxy.child.kill("SIGKILL");
    await Promise.all(this.#proxies.map((proxy) => proxy.ended()));
    if (this.control !== undefined) {
      const pid = await this.busPid().catch(() => 0);
      await this.control.stop();
      if (pid > 0) killIfAlive(pid);
    }
  }
}

async function join_(token: string, state: string): Promise<void> {
  const { code, err } = await espalier("join", token, "--state", state);
  if (code !== 0) throw new Error(err);
}

function killIfAlive(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended with its control service, as it should.
  }
}

/** Clusters in a directory of their own that goes with them. */
export class ProcessMesh {
  readonly dir: string;
  readonly #clusters: ProcessCluster[] = [];

  private constructor(dir: string) {
    this.dir = dir;
  }

  static async create(): Promise<ProcessMesh> {
    return new ProcessMesh(await mkdtemp(join(tmpdir(), "espalier-e2e-")));
  }

  /** The core, with a new certificate authority. */
  async core(files: Readonly<Record<string, string>>): Promise<ProcessCluster> {
    const core = await this.#cluster("core.acme.mesh", files);
    const { code, err } = await espalier(
      "ca",
      "init",
      "--mesh",
      "acme.mesh",
      "--state",
      core.state,
    );
    if (code !== 0) throw new Error(err);
    await core.startControl();
    return core;
  }

  /** A cluster that joins `parent` by a token. @param tiers levels of clusters that may stand below it. */
  async child(
    name: string,
    parent: ProcessCluster,
    files: Readonly<Record<string, string>>,
    tiers = 0,
  ): Promise<ProcessCluster> {
    const child = await this.#cluster(name, files);
    const token = await parent.token("--cluster", name, "--tiers", String(tiers));
    await join_(token, child.state);
    await child.startControl();
    return child;
  }

  async stop(): Promise<void> {
    for (const cluster of this.#clusters.toReversed()) await cluster.stop();
    await rm(this.dir, { recursive: true, force: true });
  }

  async #cluster(name: string, files: Readonly<Record<string, string>>): Promise<ProcessCluster> {
    const cluster = new ProcessCluster(name, this.dir);
    this.#clusters.push(cluster);
    for (const [file, text] of Object.entries(files)) await cluster.configure(file, text);
    return cluster;
  }
}

/** A Cluster whose ports the system chooses, but for those given; `advertise`: where others reach its gateway. */
export function clusterYaml(
  name: string,
  { bus = 0, api = 0, advertise = 0 }: { bus?: number; api?: number; advertise?: number } = {},
): string {
  const told = advertise === 0 ? "" : `, advertise: "127.0.0.1:${advertise}"`;
  return `apiVersion: espalier.dev/v1alpha1
kind: Cluster
metadata: { name: ${name} }
spec:
  mesh: acme.mesh
  gateway: { listen: "127.0.0.1:0"${told} }
  bus: 127.0.0.1:${bus}
  api: 127.0.0.1:${api}
  enrol: 127.0.0.1:0
  admin: 127.0.0.1:0
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: ingress }
spec:
  gatewayClassName: espalier
  listeners: [{ name: http, port: 0, protocol: HTTP }]
`;
}

/**
 * An exported service with one endpoint.
 * @param identity path of a sidecar's id, if it has one. @param protocol that it speaks, if not HTTP/1.1.
 */
export function serviceYaml(
  name: string,
  port: number,
  identity?: string,
  protocol?: string,
): string {
  const speaks = protocol === undefined ? "" : `, appProtocol: ${protocol}`;
  const proof = identity === undefined ? "" : `, identity: ${identity}`;
  return `apiVersion: espalier.dev/v1alpha1
kind: Service
metadata: { name: ${name}, namespace: shop }
spec:
  ports: [{ port: 80${speaks} }]
  endpoints: [{ address: 127.0.0.1, port: ${port}${proof} }]
---
apiVersion: multicluster.x-k8s.io/v1alpha1
kind: ServiceExport
metadata: { name: ${name}, namespace: shop }
`;
}
