import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext, type SecureContext } from "node:tls";
import { err, ok, type Result } from "#kernel/result.ts";
import type { Certificate, Listener } from "#model/snapshot.ts";
import { listenerFor, type PortGroup } from "#proxy/listen/port_groups.ts";
import type { ServerTls } from "#proxy/listen/server_tls.ts";

/** A certificate in use. */
interface Loaded {
  readonly leaf: X509Certificate;
  readonly context: SecureContext;
  readonly ocsp: Buffer | undefined;
}

/**
 * TLS of an HTTPS port: its certificates, chosen by the client's server name. Names that no listener
 * answers for are refused in the handshake; a client that names none gets the first certificate.
 * The error names the certificate that cannot be used.
 * @param ticketKeys shared by all processes of a proxy, so that any of them resumes a session; 48 bytes.
 */
export function httpsTls(group: PortGroup, ticketKeys: Buffer): Result<ServerTls, string> {
  const loaded = new Map<Listener, readonly Loaded[]>();
  const sources: Array<{ certificate: string; key: string }> = [];
  for (const listener of group.listeners) {
    const certificates: Loaded[] = [];
    for (const certificate of listener.certificates) {
      const one = load(certificate, listener);
      if (!one.ok) return err(`certificate ${certificate.name}: ${one.error}`);
      certificates.push(one.value.loaded);
      sources.push(one.value.pem);
    }
    if (certificates.length === 0) return err(`listener ${listener.name} has no certificate`);
    loaded.set(listener, certificates);
  }
  const [first] = sources;
  const contextFor = (name: string): SecureContext | undefined => {
    const listener = listenerFor(group, name.toLowerCase());
    const known = listener === undefined ? [] : loaded.get(listener)!;
    return (known.find(({ leaf }) => leaf.checkHost(name) !== undefined) ?? known[0])?.context;
  };
  return ok({
    options: {
      cert: first!.certificate,
      key: first!.key,
      minVersion: group.listeners[0]!.tlsMinVersion ?? "TLSv1.2",
      ALPNProtocols: ["h2", "http/1.1"],
      ticketKeys,
      SNICallback: (name, answer) => {
        const context = contextFor(name);
        if (context === undefined) answer(new Error(`nobody answers for ${name}`));
        else answer(null, context);
      },
    },
    admit: (socket, anonymous) => {
      const name: unknown = socket.servername;
      const named = typeof name === "string" ? listenerFor(group, name.toLowerCase()) : undefined;
      return { peer: anonymous(), servedHosts: named?.hostname };
    },
    ocspOf: (leaf) => {
      for (const one of [...loaded.values()].flat()) if (one.leaf.raw.equals(leaf)) return one.ocsp;
      return undefined;
    },
  });
}

/** Every file that the certificates of a port are read from. */
export function certificateFiles({ listeners }: PortGroup): string[] {
  return listeners.flatMap(({ certificates }) =>
    certificates.flatMap((one) =>
      one.from === "file"
        ? [one.certificate, one.key, ...(one.ocsp === undefined ? [] : [one.ocsp])]
        : [],
    ),
  );
}

function load(
  from: Certificate,
  { tlsMinVersion = "TLSv1.2" }: Listener,
): Result<{ loaded: Loaded; pem: { certificate: string; key: string } }, string> {
  try {
    const isFile = from.from === "file";
    const certificate = isFile ? readFileSync(from.certificate, "latin1") : from.certificate;
    const key = isFile ? readFileSync(from.key, "latin1") : from.key;
    const ocsp = isFile && from.ocsp !== undefined ? readFileSync(from.ocsp) : undefined;
    const leaf = new X509Certificate(certificate);
    // OpenSSL refuses one of the same kind by itself, and keeps one of another kind beside the certificate.
    if (!leaf.checkPrivateKey(createPrivateKey(key)))
      return err("the key is not the certificate's");
    const context = createSecureContext({ cert: certificate, key, minVersion: tlsMinVersion });
    return ok({ loaded: { leaf, context, ocsp }, pem: { certificate, key } });
  } catch (error) {
    return err((error as Error).message);
  }
}
