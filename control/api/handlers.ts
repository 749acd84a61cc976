import { status } from "@grpc/grpc-js";
import { redeemToken, type TokenStore } from "#certs/attest/join_token.ts";
import type { ClusterAuthority, Issued } from "#certs/authority/cluster_authority.ts";
import {
  controlId,
  gatewayId,
  parseSpiffeId,
  roleOf,
  type SpiffeId,
} from "#certs/identity/spiffe_id.ts";
import type { Role } from "#control/authority/table.ts";
import type { IssuedCertificate } from "#discovery/wire/messages.ts";
import type { Clock } from "#kernel/clock.ts";
import { err, ok, type Result } from "#kernel/result.ts";
import { type ClusterName, firstLabel, type MeshName, parentOf } from "#model/names.ts";

/** Where those who have joined go on. */
export interface Places {
  readonly api: string;
  readonly bus: string;
}

/** What the handlers need of the control service. */
export interface ApiContext {
  readonly mesh: MeshName;
  readonly cluster: ClusterName;
  readonly authority: ClusterAuthority;
  readonly tokens: TokenStore;
  readonly clock: Clock;
  /** Undefined: not a child of ours. */
  readonly child: (label: string) => { readonly tiers: number } | undefined;
  /** Makes it one. */
  readonly registerChild: (label: string, tiers: number) => Promise<void>;
  readonly places: () => Places;
}

/** A caller and what it is to us. */
export interface Caller {
  readonly id: SpiffeId;
  readonly role: Role;
}

/** A refusal as gRPC says it. */
export interface Refusal {
  readonly code: status;
  readonly details: string;
}

/** Undefined: nobody who may come here. */
export function callerOf(
  id: SpiffeId,
  cluster: ClusterName,
  context: ApiContext,
): Caller | undefined {
  if (cluster === context.cluster) {
    if (id === gatewayId(cluster)) return { id, role: "gateway" };
    return roleOf(id) === "workload" ? { id, role: "workload" } : undefined;
  }
  const isChild =
    id === controlId(cluster) &&
    parentOf(cluster, context.mesh) === context.cluster &&
    context.child(firstLabel(cluster)) !== undefined;
  return isChild ? { id, role: "child" } : undefined;
}

/** A new leaf for the id that the caller has already: never for another. */
export async function renewLeaf(
  context: ApiContext,
  caller: Caller,
  csr: string,
): Promise<Result<IssuedCertificate, Refusal>> {
  const leaf = await context.authority.issueLeaf(csr, caller.id);
  return answer(context, leaf, caller.id);
}

/** A new CA certificate for the child that calls. */
export async function renewAuthority(
  context: ApiContext,
  caller: Caller,
  csr: string,
): Promise<Result<IssuedCertificate, Refusal>> {
  const cluster = caller.id.slice("spiffe://".length).split("/", 1)[0] as ClusterName;
  const child = context.child(firstLabel(cluster));
  if (child === undefined) return err(refusal(status.PERMISSION_DENIED, "not a child"));
  return answer(context, await context.authority.signChild(csr, cluster, child.tiers), cluster);
}

/** The first certificate of whoever shows a token: what it becomes stands in our record of it. */
export async function join(
  context: ApiContext,
  request: { readonly secret: string; readonly csr: string },
): Promise<Result<IssuedCertificate, Refusal>> {
  const subject = redeemToken(context.tokens, request.secret, context.clock.wall());
  if (!subject.ok) return err(refusal(status.UNAUTHENTICATED, subject.error));
  if (subject.value.kind === "proxy") {
    const id = parseSpiffeId(subject.value.id);
    if (!id.ok) return err(refusal(status.INTERNAL, id.error));
    return answer(context, await context.authority.issueLeaf(request.csr, id.value), id.value);
  }
  const { cluster, tiers } = subject.value;
  const name = cluster as ClusterName;
  const signed = await context.authority.signChild(request.csr, name, tiers);
  if (signed.ok) await context.registerChild(firstLabel(name), tiers);
  return answer(context, signed, name);
}

/** A refusal with its gRPC status. */
export function refusal(code: status, details: string): Refusal {
  return { code, details };
}

function answer(
  context: ApiContext,
  issued: Result<Issued, string>,
  subject: string,
): Result<IssuedCertificate, Refusal> {
  if (!issued.ok) return err(refusal(status.INVALID_ARGUMENT, issued.error));
  const roots = context.authority.rootsPem;
  return ok({ chain: issued.value.chainPem, roots, subject, ...context.places() });
}
