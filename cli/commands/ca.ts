import { existsSync } from "node:fs";
import type { Command } from "commander";
import { saveAuthority } from "#certs/authority/ca_files.ts";
import { createMesh } from "#certs/authority/cluster_authority.ts";
import { usage } from "#cli/exit.ts";
import { jsonLine } from "#cli/output.ts";
import { caDir } from "#cli/state_dir.ts";
import { systemClock } from "#kernel/clock.ts";
import { parseMeshName } from "#model/names.ts";

export function registerCa(program: Command): void {
  const ca = program.command("ca").description("Certificate authorities.");
  ca.command("init")
    .description("Makes a new mesh: its root and the certificate authority of its core.")
    .requiredOption("--mesh <name>", "root of the mesh's names: acme.mesh")
    .requiredOption("--state <dir>", "state directory of the core's control service")
    .option("--json", "as JSON")
    .addHelpText("after", "\nThe root's key is kept in the state directory: it signs the regions.")
    .action((options: { mesh: string; state: string; json?: boolean }) => init(options));
}

async function init(options: { mesh: string; state: string; json?: boolean }): Promise<void> {
  const mesh = parseMeshName(options.mesh);
  if (!mesh.ok) throw usage(`--mesh: ${mesh.error}`);
  const dir = caDir(options.state);
  // Overwriting a root would orphan the whole mesh.
  if (existsSync(dir)) throw usage(`${dir} is there already; a mesh is made once`);
  const material = await createMesh(mesh.value, systemClock);
  await saveAuthority(dir, material);
  if (options.json === true) jsonLine({ mesh: mesh.value, cluster: material.cluster, dir });
  else process.stdout.write(`${material.cluster}: certificate authority in ${dir}\n`);
}
