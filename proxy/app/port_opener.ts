import { randomBytes } from "node:crypto";
import type { Clock } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";
import { err, ok, type Result } from "#kernel/result.ts";
import type { TimerWheel } from "#kernel/timer_wheel.ts";
import { watchPath } from "#kernel/watch_path.ts";
import type { HeldPorts } from "#proxy/app/held_ports.ts";
import type { PortOpener } from "#proxy/app/listener_set.ts";
import type { MeshTls } from "#proxy/app/mesh_tls.ts";
import type { Handler } from "#proxy/exchange/exchange.ts";
import { clientFilesMax } from "#proxy/listen/file_limit.ts";
import { certificateFiles, httpsTls } from "#proxy/listen/https.ts";
import { type OpenPort, openPort, whenDrained } from "#proxy/listen/port.ts";
import { inTurn, type PortSharing } from "#proxy/listen/port_claim.ts";
import type { PortGroup } from "#proxy/listen/port_groups.ts";
import type { ServerTls } from "#proxy/listen/server_tls.ts";
import type { AccessLog } from "#proxy/observe/access_log.ts";

const TICKET_KEYS_BYTES = 48;

export interface PortOpenerOptions {
  readonly handler: Handler;
  readonly self: string;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly log: Logger;
  readonly reusePort: boolean;
  readonly held: HeldPorts;
  readonly meshTls: MeshTls | undefined;
  readonly accessLog: AccessLog | undefined;
  /** Shared by the workers of one proxy; absent: this process's own. */
  readonly ticketKeys?: Buffer;
}

/** Opens ports with the TLS that their protocol asks for, and watches the files of their certificates. */
export class ProxyPortOpener implements PortOpener {
  readonly #options: PortOpenerOptions;
  readonly #ticketKeys: Buffer;
  readonly #filesMax = clientFilesMax();
  readonly #watches = new Map<OpenPort, Array<{ close(): void }>>();

  constructor(options: PortOpenerOptions) {
    this.#options = options;
    this.#ticketKeys = options.ticketKeys ?? randomBytes(TICKET_KEYS_BYTES);
  }

  open(group: PortGroup): Promise<Result<OpenPort, string>> {
    const sharing = this.#sharingOf(group);
    if (sharing !== "claim") return this.#open(group, sharing);
    return inTurn(group.port, this.#options.clock, () => this.#open(group, sharing));
  }

  update(port: OpenPort, group: PortGroup): void {
    port.useRules(group.listeners[0]!.rules);
    if (group.protocol !== "HTTPS") return;
    this.#renew(port, group);
    this.#watch(port, group);
  }

  async #open(group: PortGroup, sharing: PortSharing): Promise<Result<OpenPort, string>> {
    const { handler, self, clock, wheel, meshTls, accessLog } = this.#options;
    const filesMax = this.#filesMax;
    const base = { group, handler, self, clock, wheel, sharing, accessLog, filesMax };
    if (group.protocol === "MESH") {
      if (meshTls === undefined) return err("a MESH listener needs an identity");
      const opened = await openPort({ ...base, tls: meshTls.forServer() });
      return opened.ok ? ok(meshTls.keepCurrent(opened.value)) : opened;
    }
    if (group.protocol !== "HTTPS") return openPort(base);
    const tls = this.#httpsTls(group);
    if (!tls.ok) return tls;
    const opened = await openPort({ ...base, tls: tls.value });
    if (!opened.ok) return opened;
    this.#watch(opened.value, group);
    return ok(this.#unwatchedWhenDrained(opened.value));
  }

  #sharingOf({ port }: PortGroup): PortSharing {
    const { reusePort, held } = this.#options;
    if (!reusePort) return "alone";
    return held.has(port) ? "join" : "claim";
  }

  /** A certificate that cannot be read changes nothing: the one before stays in use. */
  #renew(port: OpenPort, group: PortGroup): void {
    const tls = this.#httpsTls(group);
    if (tls.ok) port.useTls(tls.value);
    else
      this.#options.log.error("certificate not taken up; the old one stays", { error: tls.error });
  }

  #httpsTls(group: PortGroup): Result<ServerTls, string> {
    return httpsTls(group, this.#ticketKeys);
  }

  #watch(port: OpenPort, group: PortGroup): void {
    const { clock, log } = this.#options;
    this.#unwatch(port);
    const onChange = (): void => this.#renew(port, group);
    const files = new Set(certificateFiles(group));
    this.#watches.set(
      port,
      [...files].map((file) => watchPath(file, { clock, log, onChange })),
    );
  }

  #unwatch(port: OpenPort): void {
    for (const watch of this.#watches.get(port) ?? []) watch.close();
    this.#watches.delete(port);
  }

  #unwatchedWhenDrained(port: OpenPort): OpenPort {
    const watched: OpenPort = whenDrained(port, () => {
      this.#unwatch(watched);
      this.#unwatch(port);
    });
    return watched;
  }
}
