/**
 * The ports that processes of this proxy have already: its other workers, or the process that it takes over
 * from. They may be shared without asking who is there.
 */
export class HeldPorts {
  #ports: ReadonlySet<number>;

  constructor(ports: Iterable<number> = []) {
    this.#ports = new Set(ports);
  }

  has(port: number): boolean {
    return this.#ports.has(port);
  }

  all(): readonly number[] {
    return [...this.#ports];
  }

  replace(ports: Iterable<number>): void {
    this.#ports = new Set(ports);
  }
}
