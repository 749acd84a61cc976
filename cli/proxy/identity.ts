import { renewLeafAt } from "#certs/authority/profiles.ts";
import { type Identity, RotatingIdentity } from "#certs/identity/identity.ts";
import { controlId } from "#certs/identity/spiffe_id.ts";
import { identityOf } from "#certs/workload/identity_of.ts";
import { askRenewal } from "#certs/workload/issuing_client.ts";
import { loadMembership, saveMembership } from "#certs/workload/membership_file.ts";
import { Renewer } from "#certs/workload/renewer.ts";
import { usage } from "#cli/exit.ts";
import { membershipPath } from "#cli/state_dir.ts";
import { systemClock } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";
import { ok, type Result } from "#kernel/result.ts";
import { systemRng } from "#kernel/rng.ts";

/** The identity of a proxy that has joined: from disk, renewed at its control service. */
export async function startIdentity(
  state: string,
  control: string | undefined,
  log: Logger,
): Promise<{ identity: RotatingIdentity; api: string; stop: () => void }> {
  const path = membershipPath(state);
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

/** A new leaf with a new key, for the same id. */
async function renew(current: Identity, control: string): Promise<Result<Identity, string>> {
  const expected = controlId(current.cluster);
  const place = { server: control, expected, as: current, clock: systemClock };
  const renewed = await askRenewal(place, "RenewLeaf");
  if (!renewed.ok) return renewed;
  return identityOf(renewed.value.issued, renewed.value.keyPem, systemClock.wall());
}
