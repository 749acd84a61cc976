import { makeClientConstructor } from "@grpc/grpc-js";
import { newRequest } from "#certs/authority/keys.ts";
import type { Identity } from "#certs/identity/identity.ts";
import type { SpiffeId } from "#certs/identity/spiffe_id.ts";
import { meshChannel } from "#certs/workload/grpc_channel.ts";
import { PeerVerifier } from "#certs/workload/peer_verifier.ts";
import type { Stranger } from "#certs/workload/tls.ts";
import { WIRE } from "#discovery/wire/definition.ts";
import type { IssuedCertificate } from "#discovery/wire/messages.ts";
import type { Clock } from "#kernel/clock.ts";
import { err, ok, type Result } from "#kernel/result.ts";

const CALL_MS = 10_000;

const IdentityClient = makeClientConstructor(WIRE.Identity.service, "Identity");
const EnrolmentClient = makeClientConstructor(WIRE.Enrolment.service, "Enrolment");

/** What was issued, and the key that was made for it. */
export interface IssuedWithKey {
  readonly issued: IssuedCertificate;
  readonly keyPem: string;
}

/** Where to ask, who must answer there, and who asks. */
export interface IssuerPlace {
  /** `host:port`. */
  readonly server: string;
  readonly expected: SpiffeId;
  readonly as: Identity | Stranger;
  readonly clock: Clock;
}

/** A new certificate for a new key: the caller's present identity is the proof. */
export function askRenewal(
  place: IssuerPlace,
  method: "RenewLeaf" | "RenewAuthority",
): Promise<Result<IssuedWithKey, string>> {
  return ask(place, IdentityClient, method, {});
}

/** The first certificate, for the secret of a join token. */
export function askJoin(
  place: IssuerPlace,
  secret: string,
): Promise<Result<IssuedWithKey, string>> {
  return ask(place, EnrolmentClient, "Join", { secret });
}

async function ask(
  place: IssuerPlace,
  Client: ReturnType<typeof makeClientConstructor>,
  method: string,
  request: object,
): Promise<Result<IssuedWithKey, string>> {
  const { server, expected, as, clock } = place;
  const { csrPem, keyPem } = await newRequest();
  const channel = meshChannel(as, new PeerVerifier(as.rootsPem, clock), expected);
  const client = new Client(server, channel.credentials, channel.options);
  try {
    const issued = await new Promise<IssuedCertificate>((resolve, reject) => {
      const deadline = new Date(clock.wall() + CALL_MS);
      const call = client[method] as (...args: unknown[]) => void;
      const answered = (error: Error | null, value: unknown): void => {
        if (error === null) resolve(value as IssuedCertificate);
        else reject(error);
      };
      call.call(client, { ...request, csr: csrPem }, { deadline }, answered);
    });
    return ok({ issued, keyPem });
  } catch (error) {
    return err(`${server}: ${(error as Error).message}`);
  } finally {
    client.close();
  }
}
