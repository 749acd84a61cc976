import type { Command } from "commander";
import { type JoinSubject, mintToken } from "#certs/attest/join_token.ts";
import { loadAuthority } from "#certs/authority/ca_files.ts";
import { tiersProblem } from "#certs/authority/cluster_authority.ts";
import { gatewayId, workloadId } from "#certs/identity/spiffe_id.ts";
import { meshOf } from "#certs/x509/root.ts";
import { usage } from "#cli/exit.ts";
import { countOption } from "#cli/options.ts";
import { jsonLine } from "#cli/output.ts";
import { caDir, storePath } from "#cli/state_dir.ts";
import { Store } from "#control/store/store.ts";
import { systemClock } from "#kernel/clock.ts";
import { jsonLogger } from "#kernel/log.ts";
import { err, ok, type Result } from "#kernel/result.ts";
import { type ClusterName, isLabel, type MeshName, parentOf } from "#model/names.ts";

interface TokenOptions {
  readonly state: string;
  readonly enrol: string;
  readonly cluster?: string;
  readonly tiers: number;
  readonly gateway?: boolean;
  readonly workload?: string;
  readonly ttl: number;
  readonly json?: boolean;
}

export function registerToken(program: Command): void {
  const token = program.command("token").description("Join tokens: good once, for one thing.");
  token
    .command("create")
    .description("Makes a token that lets a cluster or a proxy join.")
    .requiredOption("--state <dir>", "state directory of the control service that will honour it")
    .requiredOption("--enrol <host:port>", "enrolment port as the bearer reaches it")
    .option("--cluster <name>", "a cluster right below this one")
    .option("--tiers <count>", "levels of clusters that may stand below it", countOption(0, 16), 0)
    .option("--gateway", "this cluster's gateway")
    .option("--workload <namespace/account>", "a workload's proxy of this cluster")
    .option("--ttl <minutes>", "how long it can be used", countOption(1, 43_200), 60)
    .option("--json", "as JSON")
    .action((options: TokenOptions) => create(options));
}

async function create(options: TokenOptions): Promise<void> {
  const material = await loadAuthority(caDir(options.state));
  if (!material.ok) throw usage(material.error);
  const { cluster, rootsPem } = material.value;
  const mesh = meshOf(rootsPem);
  if (!mesh.ok) throw usage(mesh.error);
  const subject = subjectOf(options, cluster, mesh.value);
  if (!subject.ok) throw usage(subject.error);
  if (subject.value.kind === "cluster") {
    const { cluster: child, tiers } = subject.value;
    const problem = tiersProblem(material.value, child as ClusterName, tiers);
    if (problem !== undefined) throw usage(`--tiers: ${problem}`);
  }
  const about = { enrol: options.enrol, by: cluster, subject: subject.value, rootsPem };
  const { text, record } = mintToken(about, systemClock.wall(), options.ttl * 60_000);
  const store = Store.open(storePath(options.state), jsonLogger("error"));
  store.put(record);
  store.close();
  if (options.json === true) {
    jsonLine({ token: text, subject: subject.value, expiresAt: new Date(record.expiresAt) });
  } else process.stdout.write(`${text}\n`);
}

function subjectOf(
  options: TokenOptions,
  self: ClusterName,
  mesh: MeshName,
): Result<JoinSubject, string> {
  const { cluster, gateway, workload, tiers } = options;
  const given = [cluster, gateway, workload].filter((value) => value !== undefined);
  if (given.length !== 1) return err("give one of --cluster, --gateway and --workload");
  if (gateway === true) return ok({ kind: "proxy", id: gatewayId(self) });
  if (cluster !== undefined) {
    if (parentOf(cluster as ClusterName, mesh) !== self) {
      return err(`--cluster: ${cluster} does not stand right below ${self}`);
    }
    return ok({ kind: "cluster", cluster, tiers });
  }
  const [namespace, account, ...rest] = workload!.split("/");
  if (rest.length > 0 || !isLabel(namespace ?? "") || !isLabel(account ?? "")) {
    return err("--workload: must be NAMESPACE/ACCOUNT");
  }
  return ok({ kind: "proxy", id: workloadId(self, namespace!, account!) });
}
