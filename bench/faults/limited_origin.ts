import { type ChildProcess, fork } from "node:child_process";

/** `slow`: each request takes ten times as long. `hole`: nothing is ever answered. `500`, `503`: at once. */
export type Mode = "well" | "slow" | "hole" | "500" | "503";

/** An endpoint: it can serve `servers × 1000 / serviceMs` requests per second, and no more. */
export interface LimitedEndpoint {
  /** `x-served-by` of its answers. */
  readonly name: string;
  /** 0: the system chooses. */
  readonly port: number;
  readonly servers: number;
  readonly serviceMs: number;
  /** Requests that wait for a server; one more is answered 503. */
  readonly queue: number;
}

/** What its parent says to the process; `endpoint` absent: all of them. */
export type ToOrigin =
  | { readonly kind: "mode"; readonly mode: Mode; readonly endpoint?: number }
  | { readonly kind: "count"; readonly id: number };

/** What the process says. */
export type FromOrigin =
  | { readonly kind: "ports"; readonly ports: readonly number[] }
  | { readonly kind: "counts"; readonly id: number; readonly counts: readonly number[] };

/** Endpoints in a process of their own: of one cluster, say. */
export class LimitedOrigin {
  #endpoints: readonly LimitedEndpoint[];
  #child: ChildProcess | undefined = undefined;
  #asked = 0;

  constructor(endpoints: ReadonlyArray<Omit<LimitedEndpoint, "port">>) {
    this.#endpoints = endpoints.map((about) => ({ ...about, port: 0 }));
  }

  /** Starts it; again on the same ports. */
  async start(): Promise<void> {
    const program = new URL(import.meta.resolve("#bench/faults/limited_origin_process.ts"));
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const child = fork(program, [JSON.stringify(this.#endpoints)], {
      env,
      execArgv: ["--disable-warning=ExperimentalWarning"],
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    this.#child = child;
    const { ports } = await heard(child, "ports", () => true);
    this.#endpoints = this.#endpoints.map((about, i) => ({ ...about, port: ports[i]! }));
  }

  get ports(): readonly number[] {
    return this.#endpoints.map(({ port }) => port);
  }

  /** From now on, of one endpoint or of all. */
  become(mode: Mode, endpoint?: number): void {
    const one = endpoint === undefined ? {} : { endpoint };
    this.#child!.send({ kind: "mode", mode, ...one } satisfies ToOrigin);
  }

  /** Requests that each endpoint has received since it was started. */
  async received(): Promise<readonly number[]> {
    const id = ++this.#asked;
    const answer = heard(this.#child!, "counts", (message) => message.id === id);
    this.#child!.send({ kind: "count", id } satisfies ToOrigin);
    return (await answer).counts;
  }

  /** As a crash: nothing is said to anybody. Resolves when it is gone. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    this.#child = undefined;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await gone;
  }
}

type Heard<K extends FromOrigin["kind"]> = Extract<FromOrigin, { kind: K }>;

function heard<K extends FromOrigin["kind"]>(
  child: ChildProcess,
  kind: K,
  is: (message: Heard<K>) => boolean,
): Promise<Heard<K>> {
  return new Promise((resolve, reject) => {
    const onMessage = (message: FromOrigin): void => {
      if (message.kind !== kind || !is(message as Heard<K>)) return;
      child.off("message", onMessage);
      child.off("exit", onExit);
      resolve(message as Heard<K>);
    };
    const onExit = (): void => reject(new Error("the origin has ended"));
    child.on("message", onMessage);
    child.once("exit", onExit);
  });
}
