import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import type { Command } from "commander";
import { type JoinToken, readToken, rootOf } from "#certs/attest/join_token.ts";
import { saveAuthority } from "#certs/authority/ca_files.ts";
import { controlId } from "#certs/identity/spiffe_id.ts";
import { authorityOf } from "#certs/workload/authority_of.ts";
import { identityOf } from "#certs/workload/identity_of.ts";
import { askJoin, type IssuedWithKey } from "#certs/workload/issuing_client.ts";
import { saveMembership } from "#certs/workload/membership_file.ts";
import { meshOf } from "#certs/x509/root.ts";
import { fail, usage } from "#cli/exit.ts";
import { jsonLine } from "#cli/output.ts";
import { caDir, membershipPath, parentPath } from "#cli/state_dir.ts";
import { splitHostPort } from "#control/config/scalars.ts";
import { systemClock } from "#kernel/clock.ts";
import { writeAtomically } from "#kernel/files.ts";
import { type ClusterName, parseClusterName } from "#model/names.ts";

export function registerJoin(program: Command): void {
  program
    .command("join")
    .description(
      "Joins a mesh with a token: as a cluster, as its gateway or as a workload's proxy.",
    )
    .argument("<token>", "from `espalier token create`")
    .requiredOption("--state <dir>", "state directory of what joins; keys are made there")
    .option("--json", "as JSON")
    .action((text: string, options: { state: string; json?: boolean }) => run(text, options));
}

async function run(text: string, options: { state: string; json?: boolean }): Promise<void> {
  const token = readToken(text);
  if (!token.ok) throw usage(token.error);
  const by = parseClusterName(token.value.by);
  if (!by.ok) throw usage(by.error);
  const { state } = options;
  if (token.value.subject.kind === "cluster" && existsSync(caDir(state))) {
    throw usage(`${caDir(state)} is there already`);
  }
  const place = {
    server: token.value.enrol,
    expected: controlId(by.value),
    as: { rootsPem: rootOf(token.value) },
    clock: systemClock,
  };
  const joined = await askJoin(place, token.value.secret);
  if (!joined.ok) throw fail(joined.error);
  await mkdir(state, { recursive: true, mode: 0o700 });
  if (token.value.subject.kind === "cluster") await keepAuthority(state, token.value, joined.value);
  else await keepMembership(state, token.value, joined.value);
  const { subject } = joined.value.issued;
  if (options.json === true) jsonLine({ subject, state });
  else process.stdout.write(`joined as ${subject}; state in ${state}\n`);
}

async function keepAuthority(
  state: string,
  token: JoinToken,
  { issued, keyPem }: IssuedWithKey,
): Promise<void> {
  const mesh = meshOf(rootOf(token));
  if (!mesh.ok) throw fail(mesh.error);
  const cluster = issued.subject as ClusterName;
  const material = {
    mesh: mesh.value,
    cluster,
    chainPem: issued.chain,
    keyPem,
    rootsPem: rootOf(token),
  };
  const authority = await authorityOf(material, systemClock);
  if (!authority.ok) throw fail(authority.error);
  await saveAuthority(caDir(state), authority.value);
  const parent = { api: reachable(issued.api, token), bus: reachable(issued.bus, token) };
  await writeAtomically(parentPath(state), `${JSON.stringify(parent)}\n`);
}

async function keepMembership(
  state: string,
  token: JoinToken,
  { issued, keyPem }: IssuedWithKey,
): Promise<void> {
  const identity = identityOf({ ...issued, roots: rootOf(token) }, keyPem, systemClock.wall());
  if (!identity.ok) throw fail(identity.error);
  const api = reachable(issued.api, token);
  await saveMembership(membershipPath(state), { identity: identity.value, api });
}

/** Who listens on all addresses does not know by which one we come: by the one that we came by. */
function reachable(place: string, token: JoinToken): string {
  const { address, port } = splitHostPort(place);
  if (address !== "0.0.0.0" && address !== "::") return place;
  return `${token.enrol.slice(0, token.enrol.lastIndexOf(":"))}:${port}`;
}
