import { type ClientDuplexStream, makeClientConstructor } from "@grpc/grpc-js";
import type { IdentitySource } from "#certs/identity/identity.ts";
import { controlId } from "#certs/identity/spiffe_id.ts";
import { meshChannel } from "#certs/workload/grpc_channel.ts";
import { PeerVerifier } from "#certs/workload/peer_verifier.ts";
import { MESSAGE_BYTES_MAX, WIRE } from "#discovery/wire/definition.ts";
import type { ProxyMessage } from "#discovery/wire/messages.ts";
import { backoffMs, RECONNECT } from "#kernel/backoff.ts";
import type { Clock, Timer } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";
import { formatProblems } from "#kernel/result.ts";
import type { Rng } from "#kernel/rng.ts";
import type { ServiceReport } from "#model/report.ts";
import { parseSnapshot } from "#model/snapshot.ts";
import {
  NO_FAILURES,
  type SnapshotSink,
  type SnapshotSource,
  type SourceFailures,
} from "#proxy/subscribe/source.ts";

export interface ControlSourceOptions {
  /** `host:port` of the control service's API. */
  readonly control: string;
  readonly identity: IdentitySource;
  readonly version: string;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: Logger;
}

type SnapshotStream = ClientDuplexStream<ProxyMessage, unknown>;

const SnapshotsClient = makeClientConstructor(WIRE.Snapshots.service, "Snapshots");

/** Follows the control service of the proxy's own cluster, and no other. Reconnects for ever. */
export class ControlSource implements SnapshotSource {
  readonly #options: ControlSourceOptions;
  #sink: SnapshotSink | undefined = undefined;
  #stream: SnapshotStream | undefined = undefined;
  #retry: Timer | undefined = undefined;
  #failures = 0;
  #connected = false;

  constructor(options: ControlSourceOptions) {
    this.#options = options;
  }

  start(sink: SnapshotSink): void {
    this.#sink = sink;
    this.#connect();
  }

  /** Tells the control service how the services do; lost while it is away. */
  report(
    services: readonly ServiceReport[],
    mesh: { readonly address: string; readonly port: number } | undefined,
  ): void {
    if (!this.#connected) return;
    this.#stream?.write({ reports: mesh === undefined ? { services } : { services, mesh } });
  }

  status(): string {
    return this.#connected ? "connected" : "connecting";
  }

  failures(): SourceFailures {
    return NO_FAILURES;
  }

  async close(): Promise<void> {
    this.#sink = undefined;
    this.#retry?.cancel();
    this.#stream?.cancel();
  }

  #connect(): void {
    const { identity, control, clock, version } = this.#options;
    const current = identity.current();
    const verifier = new PeerVerifier(current.rootsPem, clock);
    const channel = meshChannel(current, verifier, controlId(current.cluster));
    const client = new SnapshotsClient(control, channel.credentials, {
      ...channel.options,
      "grpc.max_receive_message_length": MESSAGE_BYTES_MAX,
    });
    const stream = client["Stream"]!() as unknown as SnapshotStream;
    this.#stream = stream;
    let ended = false;
    const end = (why: string): void => {
      if (ended) return;
      ended = true;
      client.close();
      this.#lost(why);
    };
    stream.on("data", (message: unknown) => this.#receive(stream, message));
    stream.on("error", (error: Error) => end(error.message));
    stream.on("end", () => end("the control service ended the stream"));
    stream.write({ hello: { version } });
  }

  #receive(stream: SnapshotStream, message: unknown): void {
    if (!this.#connected) this.#options.log.info("control service reached", {});
    this.#connected = true;
    this.#failures = 0;
    const snapshot = parseSnapshot(message, "control service");
    if (snapshot.ok) {
      this.#sink!.apply(snapshot.value);
      stream.write({ verdict: { revision: snapshot.value.revision, problems: [] } });
      return;
    }
    const revision = revisionOf(message);
    const problems = formatProblems(snapshot.error);
    const { log } = this.#options;
    log.error("snapshot refused; the old one stays in force", { revision });
    for (const problem of problems) log.error(problem);
    this.#sink!.refused(problems);
    stream.write({ verdict: { revision, problems } });
  }

  #lost(why: string): void {
    const { clock, rng, log, control } = this.#options;
    if (this.#connected) log.warn("control service lost; serving the last snapshot", { why });
    this.#connected = false;
    this.#stream = undefined;
    if (this.#sink === undefined) return;
    const delayMs = backoffMs(RECONNECT, this.#failures++, rng);
    log.debug("control service not reached", { control, why, delayMs });
    this.#retry = clock.after(delayMs, () => this.#connect());
  }
}

function revisionOf(message: unknown): string {
  const { revision } = message as { readonly revision?: unknown };
  return typeof revision === "string" ? revision : "";
}
