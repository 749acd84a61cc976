import { BUS_PAYLOAD_MAX, type BusPermissions } from "#discovery/bus/bus.ts";

/** Who may connect, by SPIFFE id. */
export interface BusUser {
  readonly id: string;
  readonly permissions: BusPermissions;
}

/** What a nats-server is told. */
export interface NatsConfig {
  readonly address: string;
  /** -1: chosen by the system, read from the ports file. */
  readonly port: number;
  readonly dir: string;
  readonly files: { readonly cert: string; readonly key: string; readonly ca: string };
  readonly users: readonly BusUser[];
}

/**
 * Text of a nats-server configuration: mTLS first, each certificate's SPIFFE id mapped to a user, one
 * account, no JetStream, no leaf nodes, nobody without an entry.
 */
export function natsConfigText(config: NatsConfig): string {
  const { address, port, dir, files, users } = config;
  return `# Written by espalier control; changes are lost.
listen: ${quoted(`${address}:${port}`)}
ports_file_dir: ${quoted(dir)}
pid_file: ${quoted(`${dir}/nats-server.pid`)}
max_payload: ${BUS_PAYLOAD_MAX}
max_subscriptions: 64
max_control_line: 1024
ping_interval: "10s"
ping_max: 2
write_deadline: "5s"
tls {
  cert_file: ${quoted(files.cert)}
  key_file: ${quoted(files.key)}
  ca_file: ${quoted(files.ca)}
  verify_and_map: true
  handshake_first: true
  timeout: 5
}
accounts {
  SYS: { users: [] }
  MESH: {
    users: [
${users.map(userText).join("\n")}
    ]
  }
}
system_account: SYS
`;
}

function userText({ id, permissions }: BusUser): string {
  const list = (subjects: readonly string[]): string => `[${subjects.map(quoted).join(", ")}]`;
  const { publish, subscribe } = permissions;
  return `      { user: ${quoted(id)}, permissions: { publish: { allow: ${list(publish)} }, subscribe: { allow: ${list(subscribe)} } }, allowed_connection_types: ["STANDARD"] }`;
}

function quoted(text: string): string {
  return JSON.stringify(text);
}
