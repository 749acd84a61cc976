import { type AdminRoute, jsonAnswer, textAnswer } from "#kernel/admin_http.ts";
import type { Millis } from "#kernel/brand.ts";
import type { Clock, Timer } from "#kernel/clock.ts";
import { type LeveledLogger, parseLogLevel } from "#kernel/log.ts";
import { Metrics } from "#kernel/metrics.ts";
import { registerProgram } from "#kernel/process_metrics.ts";
import type { ServiceReport } from "#model/report.ts";
import type { Snapshot } from "#model/snapshot.ts";
import { withoutKeys } from "#model/without_keys.ts";
import type { DataPlane, ListenerStatus } from "#proxy/app/data_plane.ts";
import { askedOf } from "#proxy/app/explain.ts";
import type { SnapshotSource } from "#proxy/subscribe/source.ts";

/** How often a control service hears of this proxy's services, if nothing happens to them. */
export const REPORT_PERIOD_MS = 1_000;

export interface ProxyProcessOptions {
  readonly clock: Clock;
  readonly plane: DataPlane;
  readonly log: LeveledLogger;
  /** Of this program, for `espalier_build_info`. */
  readonly version: string;
  readonly source: SnapshotSource;
  /** Takes the reports to the control service; absent where there is none. */
  readonly report?: (
    reports: readonly ServiceReport[],
    mesh: { readonly address: string; readonly port: number } | undefined,
  ) => void;
}

/** A running proxy: a data plane that follows a source of snapshots, and what its operator sees. */
export class ProxyProcess {
  readonly #options: ProxyProcessOptions;
  #snapshot: Snapshot | undefined = undefined;
  /** What was wrong with the newest one, if it is not in force. */
  #problems: readonly string[] = [];
  #draining = false;
  #telling = false;
  #untold = false;
  readonly #metrics = new Metrics();
  #accepted = 0;
  #refused = 0;
  #reporter: Timer | undefined = undefined;
  #firstSnapshot: () => void = () => {};
  /** Resolves once a first snapshot is in force. */
  readonly started: Promise<void>;

  constructor(options: ProxyProcessOptions) {
    this.#options = options;
    this.#register();
    this.started = new Promise((resolve) => {
      this.#firstSnapshot = resolve;
    });
  }

  start(): void {
    const { clock, source, report } = this.#options;
    source.start({
      apply: (snapshot) => this.#apply(snapshot),
      refused: (problems) => {
        this.#refused++;
        this.#problems = problems;
      },
    });
    if (report === undefined) return;
    this.#reporter = clock.every(REPORT_PERIOD_MS, () => this.#tell());
    this.#options.plane.watchHealth(() => this.#tell());
  }

  settled(): Promise<readonly ListenerStatus[]> {
    return this.#options.plane.settled();
  }

  /** Tells the control service how the services do and where the mesh reaches this proxy. */
  async report(): Promise<void> {
    const { plane, report } = this.#options;
    const name = this.#snapshot?.listeners.find(({ protocol }) => protocol === "MESH")?.name;
    const mesh = (await this.settled()).find((listener) => listener.name === name)?.bound;
    report?.(await plane.reports(), mesh);
  }

  /** One report at a time, so that none is overtaken; whatever happens meanwhile is in another one. */
  #tell(): void {
    if (this.#telling) {
      this.#untold = true;
      return;
    }
    this.#telling = true;
    void this.report().finally(() => {
      this.#telling = false;
      if (!this.#untold || this.#draining) return;
      this.#untold = false;
      this.#tell();
    });
  }

  async stop(maxMs: Millis): Promise<void> {
    this.#draining = true;
    this.#options.log.info("draining", { seconds: maxMs / 1_000 });
    this.#reporter?.cancel();
    await this.#options.source.close();
    await this.#options.plane.drain(maxMs);
  }

  /** The routes of the admin port. */
  adminRoutes(): ReadonlyMap<string, AdminRoute> {
    return new Map<string, AdminRoute>([
      ["/live", () => textAnswer(200, "live")],
      ["/ready", () => this.#ready()],
      ["/metrics", () => this.#metricsAnswer()],
      ["/config", () => this.#config()],
      ["/clusters", () => this.#clusters()],
      ["/connections", () => this.#connections()],
      ["/log", () => jsonAnswer(200, { level: this.#options.log.level })],
      ["POST /log", (query) => this.#setLogLevel(query)],
      ["/explain", (query) => this.#explain(query)],
    ]);
  }

  #apply(snapshot: Snapshot): void {
    this.#options.plane.apply(snapshot);
    this.#accepted++;
    this.#snapshot = snapshot;
    this.#problems = [];
    this.#firstSnapshot();
  }

  async #ready() {
    if (this.#draining) return textAnswer(503, "draining");
    if (this.#snapshot === undefined) return textAnswer(503, "no configuration yet");
    const failed = (await this.settled()).filter((listener) => listener.problem !== undefined);
    if (failed.length === 0) return textAnswer(200, "ready");
    return textAnswer(503, failed.map(({ name, problem }) => `${name}: ${problem}`).join("\n"));
  }

  async #metricsAnswer() {
    const text = (await this.#options.plane.metricsText()) + (await this.#metrics.text());
    return { status: 200, contentType: "text/plain; version=0.0.4; charset=utf-8", body: text };
  }

  #config() {
    return jsonAnswer(200, {
      source: this.#options.source.status(),
      snapshot: this.#snapshot === undefined ? null : withoutKeys(this.#snapshot),
      refused: this.#problems,
    });
  }

  /** Every endpoint as each process sees it. */
  async #clusters() {
    const all = await this.#options.plane.inventory();
    return jsonAnswer(
      200,
      all.map(({ process, services }) => ({ process, services })),
    );
  }

  async #connections() {
    const all = await this.#options.plane.inventory();
    return jsonAnswer(
      200,
      all.map(({ services: _elsewhere, ...connections }) => connections),
    );
  }

  #setLogLevel(query: URLSearchParams) {
    const level = parseLogLevel(query.get("level"));
    if (level === undefined) return textAnswer(400, "give ?level=debug, info, warn or error");
    this.#options.log.level = level;
    this.#options.plane.setWorkersLogLevel(level);
    return jsonAnswer(200, { level });
  }

  async #explain(query: URLSearchParams) {
    const asked = askedOf(query);
    if (!asked.ok) return textAnswer(400, asked.error);
    const explanation = await this.#options.plane.explain(asked.value);
    const from = query.get("from");
    if (from === null || from === explanation.cluster) return jsonAnswer(200, explanation);
    return textAnswer(404, `this proxy stands in ${explanation.cluster}, not in ${from}`);
  }

  #register(): void {
    const { source, version } = this.#options;
    registerProgram(this.#metrics, version);
    const count = (name: string, help: string, value: () => number): void =>
      this.#metrics.counter({ name, help, labels: [] }, () => [{ labels: [], value: value() }]);
    count("espalier_snapshots_accepted_total", "Snapshots put in force.", () => this.#accepted);
    count(
      "espalier_snapshots_refused_total",
      "Snapshots and configurations that were refused; the one before stays in force.",
      () => this.#refused,
    );
    count(
      "espalier_snapshots_unsaved_total",
      "Snapshots that could not be written to disk.",
      () => source.failures().unsaved,
    );
  }
}
