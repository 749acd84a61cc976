import { join } from "node:path";
import { makeClientConstructor } from "@grpc/grpc-js";
import { newRequest } from "#certs/authority/keys.ts";
import { renewLeafAt } from "#certs/authority/profiles.ts";
import { type Identity, RotatingIdentity } from "#certs/identity/identity.ts";
import { controlId } from "#certs/identity/spiffe_id.ts";
import { meshChannel } from "#certs/workload/grpc_channel.ts";
import { identityOf } from "#certs/workload/identity_of.ts";
import { loadMembership, saveMembership } from "#certs/workload/membership_file.ts";
import { PeerVerifier } from "#certs/workload/peer_verifier.ts";
import { Renewer } from "#certs/workload/renewer.ts";
import { usage } from "#cli/exit.ts";
import { WIRE } from "#discovery/wire/definition.ts";
import type { IssuedCertificate } from "#discovery/wire/messages.ts";
import { systemClock } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";
import { err, ok, type Result } from "#kernel/result.ts";
import { systemRng } from "#kernel/rng.ts";

const IdentityClient = makeClientConstructor(WIRE.Identity.service, "Identity");
const CALL_MS = 10_000;

/** The identity of a proxy that has joined: from disk, renewed at its control service. */
export async function startIdentity(
  state: string,
  control: string | undefined,
  log: Logger,
): Promise<{ identity: RotatingIdentity; api: string; stop: () => void }> {
  const path = join(state, "membership.json");
  const membership = await loadMembership(path);
  if (!membership.ok) throw usage(membership.error);
  const { api } = membership.value;
  const identity = new RotatingIdentity(membership.value.identity);
  const renewer = new Renewer({
    what: "identity",
    clock: systemClock,
    rng: systemRng(),
    log,
    current: () => identity.current(),
    renewAt: renewLeafAt,
    renew: async () => {
      const renewed = await renew(identity.current(), control ?? api);
      if (!renewed.ok) return renewed;
      identity.rotate(renewed.value);
      await saveMembership(path, { ...membership.value, identity: renewed.value }).catch(
        (error: Error) => log.error("identity not saved", { error: error.message }),
      );
      return ok(undefined);
    },
  });
  return { identity, api, stop: () => renewer.close() };
}

/** A new leaf with a new key, for the same id. The old one is the proof. */
async function renew(current: Identity, control: string): Promise<Result<Identity, string>> {
  const { csrPem, keyPem } = await newRequest();
  const verifier = new PeerVerifier(current.rootsPem, systemClock);
  const channel = meshChannel(current, verifier, controlId(current.cluster));
  const client = new IdentityClient(control, channel.credentials, channel.options);
  try {
    const issued = await new Promise<IssuedCertificate>((resolve, reject) => {
      const deadline = new Date(systemClock.wall() + CALL_MS);
      const call = client["RenewLeaf"] as (...args: unknown[]) => void;
      call.call(client, { csr: csrPem }, { deadline }, (error: Error | null, value: unknown) => {
        if (error === null) resolve(value as IssuedCertificate);
        else reject(error);
      });
    });
    return identityOf(issued, keyPem, systemClock.wall());
  } catch (error) {
    return err((error as Error).message);
  } finally {
    client.close();
  }
}
