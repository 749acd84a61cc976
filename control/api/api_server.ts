import type { TLSSocket } from "node:tls";
import {
  type handleBidiStreamingCall,
  type handleUnaryCall,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import type { Identity, IdentitySource } from "#certs/identity/identity.ts";
import { PeerVerifier } from "#certs/workload/peer_verifier.ts";
import { serverTls } from "#certs/workload/tls.ts";
import {
  type ApiContext,
  type Caller,
  callerOf,
  join,
  type Refusal,
  refusal,
  renewAuthority,
  renewLeaf,
} from "#control/api/handlers.ts";
import type { SnapshotHub } from "#control/api/snapshot_hub.ts";
import { TlsFront } from "#control/api/tls_front.ts";
import { type Method, mayCall } from "#control/authority/table.ts";
import type { HostPort } from "#control/config/scalars.ts";
import { MESSAGE_BYTES_MAX, WIRE } from "#discovery/wire/definition.ts";
import type {
  CertificateRequest,
  IssuedCertificate,
  JoinRequest,
  ProxyMessage,
} from "#discovery/wire/messages.ts";
import type { Clock } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";
import { err, ok, type Result } from "#kernel/result.ts";
import type { Snapshot } from "#model/snapshot.ts";

export interface ApiServerOptions {
  readonly listen: HostPort;
  readonly enrol: HostPort;
  readonly identity: IdentitySource;
  readonly context: ApiContext;
  readonly hub: SnapshotHub;
  readonly clock: Clock;
  readonly log: Logger;
}

const SERVER_OPTIONS = {
  "grpc.max_receive_message_length": MESSAGE_BYTES_MAX,
  "grpc.max_send_message_length": MESSAGE_BYTES_MAX,
  // A proxy behind a black hole is dropped after 30 s.
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 10_000,
};

/** The two gRPC ports of a control service: one for those whom mTLS proves, one for those with a token. */
export class ApiServer {
  readonly #options: ApiServerOptions;
  readonly #grpc: Server;
  readonly #enrolGrpc: Server;
  readonly #fronts: TlsFront[] = [];
  /** Callers by the address of their connection: gRPC shows nothing else of it. */
  readonly #callers = new Map<string, Caller>();
  #verifier: PeerVerifier;

  private constructor(options: ApiServerOptions) {
    this.#options = options;
    this.#verifier = this.#newVerifier(options.identity.current());
    this.#grpc = new Server(SERVER_OPTIONS);
    this.#grpc.addService(WIRE.Snapshots.service, { Stream: this.#stream() });
    this.#grpc.addService(WIRE.Identity.service, {
      RenewLeaf: this.#unary("Identity/RenewLeaf", renewLeaf),
      RenewAuthority: this.#unary("Identity/RenewAuthority", renewAuthority),
    });
    this.#enrolGrpc = new Server(SERVER_OPTIONS);
    this.#enrolGrpc.addService(WIRE.Enrolment.service, { Join: this.#join() });
  }

  static async open(options: ApiServerOptions): Promise<Result<ApiServer, string>> {
    const server = new ApiServer(options);
    const opened = await server.#listen();
    if (opened.ok) return ok(server);
    server.close();
    return opened;
  }

  get api(): HostPort {
    return this.#fronts[0]!.address;
  }

  get enrol(): HostPort {
    return this.#fronts[1]!.address;
  }

  /** Peers that were not let in. */
  get refused(): number {
    return this.#fronts.reduce((sum, front) => sum + front.refused, 0);
  }

  close(): void {
    for (const front of this.#fronts) front.close();
    this.#grpc.forceShutdown();
    this.#enrolGrpc.forceShutdown();
  }

  async #listen(): Promise<Result<undefined, string>> {
    const { identity, listen, enrol, clock } = this.#options;
    const grpc = this.#grpc.createConnectionInjector(ServerCredentials.createInsecure());
    const mutual = serverTls(identity.current());
    const front = await TlsFront.open({
      listen,
      tls: mutual,
      clock,
      admit: (socket) => this.#admit(socket),
      serve: (socket) => grpc.injectConnection(socket),
    });
    if (!front.ok) return front;
    this.#fronts.push(front.value);
    const enrolGrpc = this.#enrolGrpc.createConnectionInjector(ServerCredentials.createInsecure());
    const enrolFront = await TlsFront.open({
      listen: enrol,
      tls: withoutClientCertificates(identity.current()),
      clock,
      admit: () => true,
      serve: (socket) => enrolGrpc.injectConnection(socket),
    });
    if (!enrolFront.ok) return enrolFront;
    this.#fronts.push(enrolFront.value);
    identity.onRotate((rotated) => {
      this.#verifier = this.#newVerifier(rotated);
      front.value.useTls(serverTls(rotated));
      enrolFront.value.useTls(withoutClientCertificates(rotated));
    });
    return ok(undefined);
  }

  #newVerifier(identity: Identity): PeerVerifier {
    return new PeerVerifier(identity.rootsPem, this.#options.clock);
  }

  #admit(socket: TLSSocket): boolean {
    const { log, context } = this.#options;
    const peer = this.#verifier.peerOf(socket);
    const from = `${socket.remoteAddress}:${socket.remotePort}`;
    if (!peer.ok) {
      log.warn("API peer refused", { from, error: peer.error });
      return false;
    }
    const caller = callerOf(peer.value.id, peer.value.cluster, context);
    if (caller === undefined) {
      log.warn("API peer refused", { from, error: `${peer.value.id} may not come here` });
      return false;
    }
    this.#callers.set(from, caller);
    socket.on("close", () => this.#callers.delete(from));
    return true;
  }

  /** The caller of `method`, or why it may not. A child may have been removed since it connected. */
  #authorise(peer: string, method: Method): Caller | Refusal {
    const caller = this.#callers.get(peer);
    if (caller === undefined) return refusal(status.UNAUTHENTICATED, "unknown peer");
    if (!mayCall(caller.role, method)) {
      return refusal(status.PERMISSION_DENIED, `a ${caller.role} may not call ${method}`);
    }
    return caller;
  }

  #unary(
    method: Method,
    run: (
      context: ApiContext,
      caller: Caller,
      csr: string,
    ) => Promise<Result<IssuedCertificate, Refusal>>,
  ): handleUnaryCall<CertificateRequest, IssuedCertificate> {
    return (call, callback) => {
      const caller = this.#authorise(call.getPeer(), method);
      if (!("id" in caller)) {
        callback(caller);
        return;
      }
      void this.#answer(run(this.#options.context, caller, call.request.csr), callback);
    };
  }

  #join(): handleUnaryCall<JoinRequest, IssuedCertificate> {
    return (call: ServerUnaryCall<JoinRequest, IssuedCertificate>, callback) => {
      this.#options.log.info("join", { from: call.getPeer() });
      void this.#answer(join(this.#options.context, call.request), callback);
    };
  }

  /** A disk that is full, say, fails one call and not the service. */
  async #answer(
    running: Promise<Result<IssuedCertificate, Refusal>>,
    callback: sendUnaryData<IssuedCertificate>,
  ): Promise<void> {
    const result = await running.catch((error: Error) => {
      this.#options.log.error("call failed", { error: error.message });
      return err(refusal(status.INTERNAL, "the control service could not do it; see its log"));
    });
    if (result.ok) callback(null, result.value);
    else callback(result.error);
  }

  #stream(): handleBidiStreamingCall<ProxyMessage, Snapshot> {
    return (call) => {
      const caller = this.#authorise(call.getPeer(), "Snapshots/Stream");
      if (!("id" in caller)) call.emit("error", caller);
      else this.#follow(call, caller);
    };
  }

  #follow(call: ServerDuplexStream<ProxyMessage, Snapshot>, caller: Caller): void {
    const { hub, log } = this.#options;
    const role = caller.role === "gateway" ? "gateway" : "workload";
    let waiting: Snapshot | undefined;
    let full = false;
    const send = (snapshot: Snapshot): void => {
      // A proxy that reads slowly gets the newest when it reads again, not all of them.
      if (full) waiting = snapshot;
      else full = !call.write(snapshot);
    };
    call.on("drain", () => {
      full = false;
      const next = waiting;
      waiting = undefined;
      if (next !== undefined) send(next);
    });
    const subscription = hub.subscribe(caller.id, role, send);
    log.info("proxy connected", { id: caller.id });
    call.on("data", ({ verdict, reports }: ProxyMessage) => {
      if (verdict !== undefined) {
        subscription.verdict(verdict);
        if (verdict.problems.length > 0) {
          log.warn("proxy refused a snapshot", { id: caller.id, problem: verdict.problems[0] });
        }
      }
      if (reports !== undefined) subscription.report(reports.services, reports.mesh);
    });
    const close = (): void => subscription.close();
    call.on("error", close);
    call.on("close", close);
    call.on("cancelled", close);
    call.on("end", () => {
      close();
      call.end();
    });
  }
}

/** For those who come to get their first certificate. */
function withoutClientCertificates(identity: Identity) {
  return { ...serverTls(identity), requestCert: false, rejectUnauthorized: false };
}
