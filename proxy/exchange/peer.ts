import type { ClusterName } from "#model/names.ts";

/** Who is at the other end of a downstream connection; proven by TLS, or unknown. */
export type Peer =
  | {
      readonly kind: "anonymous";
      readonly address: string;
      readonly port: number;
      /** A proxy of ours outside the mesh: what it says of its own client is believed. */
      readonly trusted: boolean;
    }
  | {
      readonly kind: "gateway" | "workload" | "control";
      readonly address: string;
      /** `spiffe://<cluster>/…` */
      readonly id: string;
      readonly cluster: ClusterName;
    };

/** Somebody on a plain connection. An IPv4 client of an IPv6 socket is an IPv4 client. */
export function anonymous(address: string, port = 0, trusted = false): Peer {
  const plain = address.startsWith("::ffff:") ? address.slice("::ffff:".length) : address;
  return { kind: "anonymous", address: plain, port, trusted };
}
