import { type ChildProcess, fork } from "node:child_process";
import type { Millis } from "#kernel/brand.ts";
import type { Clock, Timer } from "#kernel/clock.ts";
import type { MetricsData } from "#kernel/metrics.ts";
import type { ListenerStatus } from "#proxy/app/data_plane.ts";
import type { Answers, FromWorker, Question, ToWorker } from "#proxy/app/worker_messages.ts";
import type { EndpointVerdict } from "#proxy/health/endpoint_checker.ts";

/** What a worker says to a question; `gone`: it ended, or said nothing in time and was ended. */
export type Said<Q extends Question> =
  | { readonly kind: "said"; readonly value: Answers[Q["kind"]] | undefined }
  | { readonly kind: "gone" };

/** A small young generation: a request leaves nothing behind, and 30 MB are saved for 2 % of CPU time. */
const LEAN = ["--max-semi-space-size=4"];

/** How long an operator waits for what a worker can tell of itself (Prometheus gives up after 10 s). */
const LOOK_MS: Millis = 2_000;

/** How often within the time for an answer a worker is asked for a sign of life … */
const SIGNS_PER_ANSWER = 2;
/** … and how many may be missing in a row: twice that time. */
const SIGNS_MISSED_MAX = 4;
/** No answer to it is waited for. */
const NOBODY_ASKED = 0;

export interface WorkerProcessOptions {
  /** A file that makes a `Worker`. */
  readonly program: URL;
  readonly clock: Clock;
  /** How long it may take to answer before it is taken for hung; the first answer may take longer. */
  readonly answerMs: Millis;
  readonly firstAnswerMs: Millis;
  readonly onVerdict: (verdict: EndpointVerdict) => void;
  /** The health of a service has changed class, as it sees it. */
  readonly onHealth: () => void;
  /** It has ended, or could not be started. Called once. */
  readonly onEnd: (why: string) => void;
}

/** One worker process, as its primary sees it. */
export class WorkerProcess {
  readonly startedAt: Millis;
  /** Listeners for whose port 0 it has a port of the system's choice. */
  readonly chose = new Set<string>();
  /** What it counted when it was last asked. */
  metrics: MetricsData | undefined = undefined;
  /** What became of its listeners when it was last asked. */
  listeners: readonly ListenerStatus[] = [];
  readonly #options: WorkerProcessOptions;
  readonly #child: ChildProcess;
  readonly #asked = new Map<number, (said: Said<Question>) => void>();
  readonly #ended: Promise<void>;
  readonly #signs: Timer;
  #nextId = NOBODY_ASKED + 1;
  #over = false;
  /** Its end is bounded by a time of its own. */
  #draining = false;
  #answered = false;
  /** Signs of life that it was asked for since it last said anything. */
  #signsMissed = 0;
  #serving = false;
  /** Why it was ended, if it was. */
  #hung = "";

  constructor(options: WorkerProcessOptions) {
    this.#options = options;
    this.startedAt = options.clock.now();
    const execArgv = [...process.execArgv, ...LEAN];
    this.#child = fork(options.program, { serialization: "advanced", execArgv });
    this.#child.on("message", (message) => {
      const said = message as FromWorker;
      this.#answered = true;
      this.#signsMissed = 0;
      if (said.kind === "verdict") options.onVerdict(said.verdict);
      else if (said.kind === "health") options.onHealth();
      else this.#asked.get(said.id)?.({ kind: "said", value: said.value } as Said<Question>);
    });
    this.#signs = options.clock.every(options.answerMs / SIGNS_PER_ANSWER, () => this.#askSign());
    this.#ended = new Promise((resolve) => {
      const end = (why: string): void => {
        if (this.#over) return;
        this.#over = true;
        this.#signs.cancel();
        for (const said of [...this.#asked.values()]) said({ kind: "gone" });
        options.onEnd(this.#hung === "" ? why : this.#hung);
        resolve();
      };
      // One that cannot be started has an error and no exit.
      this.#child.on("error", (error) => {
        if (this.#child.pid === undefined) end(error.message);
      });
      this.#child.on("exit", (code, signal) => end(signal ?? `code ${code}`));
    });
  }

  /**
   * Whoever hangs between two questions has clients on its ports, too, and may be the one that checks endpoints. Signs
   * are counted, not time: if we stood still ourselves, what was said meanwhile is read before the next one is missed.
   */
  #askSign(): void {
    // How it starts is watched by its first question.
    if (!this.#answered || this.#draining) return;
    if (this.#signsMissed >= SIGNS_MISSED_MAX) {
      this.#hung = `no sign of life for ${(SIGNS_MISSED_MAX / SIGNS_PER_ANSWER) * this.#options.answerMs} ms`;
      this.kill();
      return;
    }
    this.#signsMissed++;
    this.tell({ kind: "ask", id: NOBODY_ASKED, question: { kind: "alive" } });
  }

  /** It has opened its listeners. */
  get serving(): boolean {
    return this.#serving && !this.#over;
  }

  tell(message: ToWorker): void {
    if (this.#child.connected) this.#child.send(message, () => {});
  }

  async ask<Q extends Question>(question: Q): Promise<Said<Q>> {
    if (this.#over) return { kind: "gone" };
    const id = this.#nextId++;
    const answer = new Promise<Said<Question>>((resolve) => {
      this.#asked.set(id, resolve);
    });
    this.tell({ kind: "ask", id, question });
    const { clock, answerMs, firstAnswerMs } = this.#options;
    const limitMs = this.#answered ? answerMs : firstAnswerMs;
    // What the kernel gives to a process that hangs, hangs as well: another one is better.
    const timeout = clock.after(limitMs, () => {
      this.#hung = `no answer for ${limitMs} ms`;
      this.kill();
    });
    const said = await answer;
    timeout.cancel();
    this.#asked.delete(id);
    if (question.kind === "settled" && said.kind === "said" && said.value !== undefined) {
      this.#serving = true;
      this.listeners = said.value as Answers["settled"];
    }
    return said as Said<Q>;
  }

  /** Asks for what an operator wants to see. `late`: it does not say it soon; it may all the same be well. */
  async look<Q extends Question>(question: Q): Promise<Said<Q> | { readonly kind: "late" }> {
    let timer: Timer | undefined;
    const late = new Promise<{ readonly kind: "late" }>((resolve) => {
      timer = this.#options.clock.after(LOOK_MS, () => resolve({ kind: "late" }));
    });
    const said = await Promise.race([this.ask(question), late]);
    timer?.cancel();
    return said;
  }

  /** Resolves when it has drained and ended; it is ended if that takes too long. */
  async drain(maxMs: Millis): Promise<void> {
    this.#draining = true;
    this.tell({ kind: "drain", maxMs });
    const { clock, answerMs } = this.#options;
    const timer = clock.after(maxMs + answerMs, () => this.kill());
    await this.#ended;
    timer.cancel();
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }
}
