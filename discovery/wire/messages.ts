import type { ServiceReport } from "#model/report.ts";

/* Messages of `espalier.proto` as `@grpc/proto-loader` shows them: camelCase, absent if optional. */

export interface ProxyMessage {
  readonly hello?: { readonly version: string };
  readonly verdict?: { readonly revision: string; readonly problems: readonly string[] };
  readonly reports?: {
    readonly services: readonly ServiceReport[];
    readonly mesh?: { readonly address: string; readonly port: number };
  };
}

export interface CertificateRequest {
  readonly csr: string;
}

export interface JoinRequest {
  readonly secret: string;
  readonly csr: string;
}

export interface IssuedCertificate {
  readonly chain: string;
  readonly roots: string;
  readonly subject: string;
  readonly api: string;
  readonly bus: string;
}
