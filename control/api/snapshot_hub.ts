import { damped } from "#control/api/damped_report.ts";
import type { HostPort } from "#control/config/scalars.ts";
import type { ServiceReport } from "#model/report.ts";
import type { Snapshot } from "#model/snapshot.ts";

/** Kinds of proxies that snapshots are made for. */
export type ProxyRole = "gateway" | "workload";

/** What a proxy says of a snapshot; `problems` empty: accepted. */
export interface ProxyVerdict {
  readonly revision: string;
  readonly problems: readonly string[];
}

/** One connected proxy, for operators. */
export interface SubscriberStatus {
  readonly id: string;
  readonly role: ProxyRole;
  readonly sent: string;
  readonly acked: string;
  /** Revision that it refused last, and why; empty once it has accepted another. */
  readonly refused: string;
  readonly problems: readonly string[];
}

/** One connected proxy. */
export interface Subscription {
  verdict(verdict: ProxyVerdict): void;
  report(reports: readonly ServiceReport[], mesh: HostPort | undefined): void;
  close(): void;
}

interface Subscriber {
  readonly id: string;
  readonly role: ProxyRole;
  readonly deliver: (snapshot: Snapshot) => void;
  sent: string;
  acked: string;
  refused: string;
  problems: readonly string[];
  reports: readonly ServiceReport[];
  mesh: HostPort | undefined;
  /** What `onReport` was last called for. */
  news: string;
}

/** Hands the newest snapshot of each role to the proxies that follow it, and hears their answers. */
export class SnapshotHub {
  readonly #newest = new Map<ProxyRole, Snapshot>();
  readonly #subscribers = new Set<Subscriber>();
  readonly #onReport: () => void;
  /** Verdicts heard. */
  acks = 0;
  nacks = 0;

  /** @param onReport called when what gateways report has changed. */
  constructor(onReport: () => void) {
    this.#onReport = onReport;
  }

  publish(role: ProxyRole, snapshot: Snapshot): void {
    this.#newest.set(role, snapshot);
    for (const subscriber of this.#subscribers) this.#offer(subscriber);
  }

  newest(role: ProxyRole): Snapshot | undefined {
    return this.#newest.get(role);
  }

  /** The newest snapshot is delivered before this returns, if there is one. */
  subscribe(id: string, role: ProxyRole, deliver: (snapshot: Snapshot) => void): Subscription {
    const subscriber: Subscriber = {
      id,
      role,
      deliver,
      sent: "",
      acked: "",
      refused: "",
      problems: [],
      reports: [],
      mesh: undefined,
      news: "",
    };
    this.#subscribers.add(subscriber);
    this.#offer(subscriber);
    return {
      verdict: (verdict) => this.#judge(subscriber, verdict),
      report: (reports, mesh) => {
        subscriber.reports = damped(reports, subscriber.reports);
        subscriber.mesh = mesh;
        if (role === "gateway") this.#heard(subscriber);
      },
      close: () => {
        this.#subscribers.delete(subscriber);
        // What the others say counts for more now; what the last one said is kept until there is other news.
        if (role === "gateway" && !this.#gateways().next().done) this.#onReport();
      },
    };
  }

  /** What the connected gateways report last, one list each. */
  gatewayReports(): ReadonlyArray<readonly ServiceReport[]> {
    return [...this.#gateways()].map(({ reports }) => reports).filter(({ length }) => length > 0);
  }

  /** Where the connected gateways listen for the mesh. */
  gatewayAddresses(): HostPort[] {
    return [...this.#gateways()].flatMap(({ mesh }) => mesh ?? []);
  }

  statuses(): SubscriberStatus[] {
    return Array.from(this.#subscribers, ({ id, role, sent, acked, refused, problems }) => ({
      id,
      role,
      sent,
      acked,
      refused,
      problems,
    }));
  }

  /** Gateways report every second: what says nothing new must cost nothing. */
  #heard(subscriber: Subscriber): void {
    const { reports, mesh } = subscriber;
    const news = JSON.stringify([mesh, reports.map(({ inflight: _running, ...load }) => load)]);
    if (news === subscriber.news) return;
    subscriber.news = news;
    this.#onReport();
  }

  *#gateways(): Generator<Subscriber> {
    for (const subscriber of this.#subscribers) {
      if (subscriber.role === "gateway") yield subscriber;
    }
  }

  /** A refused revision is not sent again; only what differs from it. */
  #offer(subscriber: Subscriber): void {
    const snapshot = this.#newest.get(subscriber.role);
    if (snapshot === undefined || snapshot.revision === subscriber.sent) return;
    subscriber.sent = snapshot.revision;
    subscriber.deliver(snapshot);
  }

  #judge(subscriber: Subscriber, { revision, problems }: ProxyVerdict): void {
    if (problems.length === 0) {
      this.acks++;
      subscriber.acked = revision;
      subscriber.refused = "";
    } else {
      this.nacks++;
      subscriber.refused = revision;
    }
    subscriber.problems = problems;
  }
}
