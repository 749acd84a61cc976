import { type Call, Caller } from "#bench/load/caller.ts";
import { LogHistogram } from "#bench/load/log_histogram.ts";
import { type Arrivals, Pacing } from "#bench/load/pacing.ts";
import { RequestLog, type Result } from "#bench/load/request_log.ts";
import { seededRng } from "#kernel/rng.ts";

export interface OpenLoopOptions {
  /** On 127.0.0.1. */
  readonly port: number;
  /** `Host` of the requests. */
  readonly host: string;
  readonly path?: string;
  readonly method?: string;
  /** Requests per second. */
  readonly rate: number;
  readonly arrivals?: Arrivals;
  /** Of arrivals and classes. */
  readonly seed?: number;
  /** Classes, said in `x-priority`, and their shares; the rest of the requests says none. */
  readonly classes?: Readonly<Record<string, number>>;
  /** Requests that find so many connections busy wait for one of them. */
  readonly connectionsMax?: number;
  /** How long the client waits, from when a request was due. */
  readonly deadlineMs?: number;
}

const TICK_MS = 1;
/** How often running requests are looked through for those whose time is over. */
const SWEEP_MS = 50;

/**
 * A load that does not wait for the server: requests are sent when they are due, and response times count from then
 * on. A client that waits for an answer before it asks again leaves out exactly the requests that would have
 * met a stall ("coordinated omission", G. Tene; wrk2 corrects it in the same way).
 */
export class OpenLoop {
  readonly log = new RequestLog();
  /** How much later than they were due requests left, µs: large where this machine, not the server, is short of CPU. */
  readonly late = new LogHistogram();
  readonly #options: OpenLoopOptions;
  readonly #pacing: Pacing;
  readonly #requests = new Map<string, string>();
  readonly #rng;
  readonly #callers = new Set<Caller>();
  readonly #idle: Caller[] = [];
  readonly #waiting: Call[] = [];
  #startedAt = 0;
  #sweptAt = 0;
  #running = 0;
  #timer: NodeJS.Timeout | undefined = undefined;
  #isStopping = false;

  constructor(options: OpenLoopOptions) {
    const { seed = 1, rate, arrivals = "constant" } = options;
    this.#options = options;
    this.#rng = seededRng(seed);
    this.#pacing = new Pacing(rate, arrivals, seededRng(seed + 1));
    for (const priority of ["", ...Object.keys(options.classes ?? {})]) {
      this.#requests.set(priority, requestOf(options, priority));
    }
  }

  start(): this {
    this.#startedAt = performance.now();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    return this;
  }

  /** Since the start, ms: the time of the log's entries. */
  get now(): number {
    return performance.now() - this.#startedAt;
  }

  /** Requests due so far that have not ended. */
  get running(): number {
    return this.#running;
  }

  /** Sends no more, and resolves when all have ended. */
  async stop(): Promise<RequestLog> {
    this.#isStopping = true;
    while (this.#running > 0) await new Promise((resolve) => setTimeout(resolve, 10));
    clearInterval(this.#timer);
    for (const caller of this.#callers) caller.close();
    return this.log;
  }

  #tick(): void {
    const now = this.now;
    if (!this.#isStopping) {
      for (; this.#pacing.dueMs <= now; this.#pacing.advance()) {
        this.#running++;
        this.late.record((now - this.#pacing.dueMs) * 1_000);
        this.#send({ dueMs: this.#pacing.dueMs, priority: this.#drawClass() });
      }
    }
    if (now - this.#sweptAt > SWEEP_MS) this.#sweep(now);
  }

  #drawClass(): string {
    const { classes } = this.#options;
    if (classes === undefined) return "";
    let draw = this.#rng.next();
    for (const [name, share] of Object.entries(classes)) {
      draw -= share;
      if (draw < 0) return name;
    }
    return "";
  }

  #send(call: Call): void {
    let caller = this.#idle.pop();
    while (caller?.isGone === true) caller = this.#idle.pop();
    if (caller === undefined) {
      if (this.#callers.size >= (this.#options.connectionsMax ?? 1_024)) {
        this.#waiting.push(call);
        return;
      }
      caller = new Caller(this.#options.port, this);
      this.#callers.add(caller);
    }
    caller.send(call, this.#requests.get(call.priority)!);
  }

  onEnd(caller: Caller, call: Call, status: number, by: string): void {
    this.#record(call, status === 0 ? "cut" : resultOf(status), status, by);
    if (!caller.isGone) this.#idle.push(caller);
    this.#next();
  }

  onGone(caller: Caller): void {
    this.#callers.delete(caller);
  }

  #next(): void {
    const call = this.#waiting.shift();
    if (call !== undefined) this.#send(call);
  }

  #record(call: Call, result: Result, status: number, by: string): void {
    this.#running--;
    const { dueMs, priority } = call;
    this.log.add({ dueMs, tookMs: this.now - dueMs, result, status, priority, by });
  }

  #sweep(now: number): void {
    this.#sweptAt = now;
    const { deadlineMs = 15_000 } = this.#options;
    const isLate = (call: Call | undefined) => call !== undefined && now - call.dueMs > deadlineMs;
    while (isLate(this.#waiting[0])) this.#record(this.#waiting.shift()!, "deadline", 0, "");
    for (const caller of this.#callers) {
      const { call } = caller;
      if (call === undefined || !isLate(call)) continue;
      caller.close();
      this.#callers.delete(caller);
      this.#record(call, "deadline", 0, "");
      this.#next();
    }
  }
}

function requestOf({ host, method = "GET", path = "/" }: OpenLoopOptions, priority: string) {
  const said = priority === "" ? "" : `x-priority: ${priority}\r\n`;
  const body = method === "POST" ? "content-length: 0\r\n" : "";
  return `${method} ${path} HTTP/1.1\r\nhost: ${host}\r\n${said}${body}\r\n`;
}

function resultOf(status: number): Result {
  if (status >= 500) return "5xx";
  return status >= 400 ? "4xx" : "2xx";
}
