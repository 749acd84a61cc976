import { createHash, X509Certificate } from "node:crypto";
import {
  type ConnectionOptions,
  createSecureContext,
  getCACertificates,
  type SecureContext,
} from "node:tls";
import type { Endpoint, ServiceTls } from "#model/snapshot.ts";

/*
 * TLS towards endpoints that are no part of the mesh: 1.2 or 1.3, always verified, never resumed. A resumed session
 * skips every check of certificates.
 */

/** RFC 9525 §6.3: a subject's common name counts for nothing, a wildcard for one whole label. */
const STRICT = { subject: "never", partialWildcards: false } as const;

const contexts = new WeakMap<ServiceTls, SecureContext>();
let systemContext: SecureContext | undefined;

const ids = new WeakMap<ServiceTls, string>();

/** How to connect to an endpoint that proves itself as `tls` says. */
export function endpointTls(endpoint: Endpoint, tls: ServiceTls): ConnectionOptions {
  const name = verifiedName(endpoint, tls);
  return {
    secureContext: contextOf(tls),
    rejectUnauthorized: true,
    servername: name,
    checkServerIdentity: (_host, { raw }) => {
      const problem = nameProblem(new X509Certificate(raw), name, tls.subjectAltNames);
      return problem === undefined ? undefined : new Error(problem);
    },
  };
}

/** The name that an endpoint is asked for and, if nothing else is said, has to have in its certificate. */
export function verifiedName({ address }: Endpoint, { serverName }: ServiceTls): string {
  return serverName ?? address.replace(/\.$/, "");
}

/** Tells connections apart that have been verified differently; short, for people. */
export function tlsId(tls: ServiceTls): string {
  let id = ids.get(tls);
  if (id === undefined) {
    id = createHash("sha256").update(JSON.stringify(tls)).digest("hex").slice(0, 16);
    ids.set(tls, id);
  }
  return id;
}

/**
 * Why a certificate that is valid in itself is not the one that was meant; undefined: it is.
 * @param wanted one of them is enough; none: `name` has to be in it.
 */
export function nameProblem(
  certificate: X509Certificate,
  name: string,
  wanted: ServiceTls["subjectAltNames"],
): string | undefined {
  if (wanted.length === 0) {
    return isFor(certificate, name) ? undefined : `the certificate is not for ${name}`;
  }
  const found = wanted.some(({ type, value }) =>
    type === "Hostname" ? isFor(certificate, value) : urisOf(certificate).includes(value),
  );
  if (found) return undefined;
  return `the certificate is for none of ${wanted.map(({ value }) => value).join(", ")}`;
}

function isFor(certificate: X509Certificate, host: string): boolean {
  return certificate.checkHost(host, STRICT) !== undefined;
}

/** Escaped in other ways than JSON's it stays as it is, and matches nothing. */
function unquoted(text: string): string {
  try {
    return String(JSON.parse(text));
  } catch {
    return text;
  }
}

/** One alternative name in Node's text of them: quoted as JSON if it could be misread. */
const ALT_NAME = /(?:^|, )([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,"]*)/y;

function urisOf({ subjectAltName }: X509Certificate): string[] {
  const uris: string[] = [];
  if (subjectAltName === undefined) return uris;
  ALT_NAME.lastIndex = 0;
  for (let at = ALT_NAME.exec(subjectAltName); at !== null; at = ALT_NAME.exec(subjectAltName)) {
    const [, kind, value] = at;
    if (kind !== "URI") continue;
    uris.push(value!.startsWith('"') ? unquoted(value!) : value!);
  }
  return uris;
}

/** Reads the roots of the machine, if `tls` needs them and nobody has yet: some 100 ms in which nothing else is done. */
export function prepareTls(tls: ServiceTls): void {
  if (tls.ca === "system") contextOf(tls);
}

function contextOf(tls: ServiceTls): SecureContext {
  if (tls.ca === "system") {
    systemContext ??= createSecureContext({ minVersion: "TLSv1.2", ca: systemRoots() });
    return systemContext;
  }
  let context = contexts.get(tls);
  if (context === undefined) {
    context = createSecureContext({ minVersion: "TLSv1.2", ca: tls.ca });
    contexts.set(tls, context);
  }
  return context;
}

/** A machine without any of its own (a bare container) gets those that come with Node. */
function systemRoots(): string[] {
  const own = getCACertificates("system");
  const roots = own.length > 0 ? own : getCACertificates("bundled");
  // Where a file and a directory are read, most stand there twice.
  return [...new Set([...roots, ...getCACertificates("extra")])];
}
