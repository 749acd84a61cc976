import { randomBytes } from "node:crypto";
import { existsSync, renameSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import type { z } from "zod";
import type { JoinSubject, TokenRecord, TokenStore } from "#certs/attest/join_token.ts";
import type { Logger } from "#kernel/log.ts";
import { type Order, orderKey, orderSchema } from "#model/order.ts";
import {
  type Summary,
  summarySchema,
  type ViewEntry,
  viewEntrySchema,
  viewKey,
} from "#model/summary.ts";
import { type Replication, replicationSchema } from "#model/traffic_policy.ts";

const SCHEMA_VERSION = 1;

const SCHEMA = `
  create table if not exists meta (key text primary key, value text not null) strict;
  create table if not exists children (label text primary key, tiers integer not null) strict;
  create table if not exists tokens (
    hash text primary key, subject text not null, expires_at integer not null
  ) strict;
  create table if not exists facts (
    child text not null, service text not null, summary text not null, primary key (child, service)
  ) strict;
  create table if not exists view (key text primary key, entry text not null) strict;
  create table if not exists own_orders (key text primary key, entry text not null) strict;
  create table if not exists heard_orders (key text primary key, entry text not null) strict;
  create table if not exists replications (key text primary key, entry text not null) strict;
`;

/** A child that may speak on our bus and renew its CA. */
export interface Child {
  readonly label: string;
  /** Levels of clusters that may stand below it. */
  readonly tiers: number;
}

/** Tables of one JSON value per key. */
type KeyedTable = "view" | "own_orders" | "heard_orders" | "replications";

/** Child, service, summary as JSON. */
type FactRow = [child: string, service: string, summary: string];

/** What a control service must not forget: one SQLite file, or memory for a tree in one process. */
export class Store implements TokenStore {
  readonly #db: DatabaseSync;

  private constructor(path: string) {
    this.#db = new DatabaseSync(path);
    // Token, child and view survive a crash of the process; `full` also that of the machine.
    this.#db.exec(
      "pragma journal_mode = wal; pragma synchronous = full; pragma busy_timeout = 2000",
    );
    this.#db.exec(SCHEMA);
    const version = this.#meta("schema");
    if (version === undefined) this.#setMeta("schema", String(SCHEMA_VERSION));
    else if (version !== String(SCHEMA_VERSION)) throw new Error(`schema ${version} is not ours`);
  }

  /** Opens the file. One that is not a database is set aside, loudly: children and tokens are lost. */
  static open(path: string, log: Logger): Store {
    try {
      return new Store(path);
    } catch (error) {
      if (path === ":memory:" || !existsSync(path)) throw error;
      const { message } = error as Error;
      if (!/not a database|malformed|corrupt/.test(message)) throw error;
      const aside = `${path}.corrupt`;
      renameSync(path, aside);
      log.error("state file is corrupt; starting with an empty one", { path, aside, message });
      log.error("registered children and join tokens are lost: children must join again");
      return new Store(path);
    }
  }

  /** Grows with each start: epochs made of it never go back. */
  nextTerm(): number {
    const term = Number(this.#meta("term") ?? 0) + 1;
    this.#setMeta("term", String(term));
    return term;
  }

  /** By which the cluster's gateways seal sessions, 32 bytes in base64; made when first asked for. */
  sessionKey(): string {
    const known = this.#meta("session key");
    if (known !== undefined) return known;
    const key = randomBytes(32).toString("base64");
    this.#setMeta("session key", key);
    return key;
  }

  children(): Child[] {
    const rows = this.#db.prepare("select label, tiers from children order by label").all();
    return rows.map((row) => ({ label: String(row["label"]), tiers: Number(row["tiers"]) }));
  }

  addChild({ label, tiers }: Child): void {
    this.#db.prepare("insert or replace into children values (?, ?)").run(label, tiers);
  }

  put({ hash, subject, expiresAt }: TokenRecord): void {
    this.#db
      .prepare("insert into tokens values (?, ?, ?)")
      .run(hash, JSON.stringify(subject), Math.ceil(expiresAt));
  }

  take(hash: string): TokenRecord | undefined {
    const row = this.#db.prepare("delete from tokens where hash = ? returning *").get(hash);
    if (row === undefined) return undefined;
    const subject = JSON.parse(String(row["subject"])) as JoinSubject;
    return { hash, subject, expiresAt: Number(row["expires_at"]) };
  }

  /** The last good facts of each child. */
  facts(): Map<string, Map<string, Summary>> {
    const facts = new Map<string, Map<string, Summary>>();
    for (const row of this.#db.prepare("select child, service, summary from facts").all()) {
      const summary = readJson(summarySchema, String(row["summary"]));
      if (summary === undefined) continue;
      const child = String(row["child"]);
      const known = facts.get(child) ?? new Map<string, Summary>();
      facts.set(child, known.set(String(row["service"]), summary));
    }
    return facts;
  }

  /** The last good view from the parent. */
  view(): ViewEntry[] {
    return this.#entries("view").flatMap((text) => readJson(viewEntrySchema, text) ?? []);
  }

  /** What this cluster's operators have ordered. */
  ownOrders(): Order[] {
    return this.#entries("own_orders").flatMap((text) => readJson(orderSchema, text) ?? []);
  }

  /** The last good orders of the clusters above. */
  heardOrders(): Order[] {
    return this.#entries("heard_orders").flatMap((text) => readJson(orderSchema, text) ?? []);
  }

  /** Takes the place of one about the same thing. */
  addOwnOrder(order: Order): void {
    this.#put("own_orders").run(orderKey(order), JSON.stringify(order));
  }

  /** @param key of the order. False: there is none. */
  removeOwnOrder(key: string): boolean {
    return this.#db.prepare("delete from own_orders where key = ?").run(key).changes > 0;
  }

  /** The newest that was ever heard of where data is, by service. */
  replications(): Map<string, Replication> {
    const known = new Map<string, Replication>();
    for (const row of this.#db.prepare("select key, entry from replications").all()) {
      const one = readJson(replicationSchema, String(row["entry"]));
      if (one !== undefined) known.set(String(row["key"]), one);
    }
    return known;
  }

  /** @param news by service; in the place of what was remembered of them. */
  rememberReplications(news: ReadonlyMap<string, Replication>): void {
    this.#atOnce(() => {
      const put = this.#put("replications");
      for (const [service, replication] of news) put.run(service, JSON.stringify(replication));
    });
  }

  forgetReplication(service: string): void {
    this.#db.prepare("delete from replications where key = ?").run(service);
  }

  /** Makes facts, view and heard orders these in one transaction. Only rows that differ are written. */
  saveCatalog(
    facts: ReadonlyMap<string, ReadonlyMap<string, Summary>>,
    view: readonly ViewEntry[],
    heard: readonly Order[],
  ): void {
    const rows = new Map<string, FactRow>();
    for (const [child, services] of facts) {
      for (const [service, summary] of services) {
        rows.set(`${child}/${service}`, [child, service, JSON.stringify(summary)]);
      }
    }
    const entries = new Map(
      view.map((entry) => [viewKey(entry.cluster, entry.service), JSON.stringify(entry)]),
    );
    const orders = new Map(heard.map((order) => [orderKey(order), JSON.stringify(order)]));
    this.#atOnce(() => {
      this.#saveFacts(rows);
      this.#saveKeyed("view", entries);
      this.#saveKeyed("heard_orders", orders);
    });
  }

  /** All that `write` writes, or nothing. */
  #atOnce(write: () => void): void {
    this.#db.exec("begin immediate");
    try {
      write();
      this.#db.exec("commit");
    } catch (error) {
      // A full disk has ended the transaction by itself.
      if (this.#db.isTransaction) this.#db.exec("rollback");
      throw error;
    }
  }

  /** @param wanted loses the rows that are there already. */
  #saveFacts(wanted: Map<string, FactRow>): void {
    const gone = this.#db.prepare("delete from facts where child = ? and service = ?");
    for (const row of this.#db.prepare("select * from facts").all()) {
      const [child, service] = [String(row["child"]), String(row["service"])];
      const key = `${child}/${service}`;
      const summary = wanted.get(key)?.[2];
      if (summary === undefined) gone.run(child, service);
      else if (summary === row["summary"]) wanted.delete(key);
    }
    const put = this.#db.prepare("insert or replace into facts values (?, ?, ?)");
    for (const row of wanted.values()) put.run(...row);
  }

  /** @param wanted loses the rows that are there already. */
  #saveKeyed(table: KeyedTable, wanted: Map<string, string>): void {
    const gone = this.#db.prepare(`delete from ${table} where key = ?`);
    for (const row of this.#db.prepare(`select * from ${table}`).all()) {
      const key = String(row["key"]);
      const entry = wanted.get(key);
      if (entry === undefined) gone.run(key);
      else if (entry === row["entry"]) wanted.delete(key);
    }
    const put = this.#put(table);
    for (const row of wanted) put.run(...row);
  }

  #put(table: KeyedTable) {
    return this.#db.prepare(`insert or replace into ${table} values (?, ?)`);
  }

  #entries(table: KeyedTable): string[] {
    const rows = this.#db.prepare(`select entry from ${table} order by key`).all();
    return rows.map((row) => String(row["entry"]));
  }

  close(): void {
    this.#db.close();
  }

  #meta(key: string): string | undefined {
    const row = this.#db.prepare("select value from meta where key = ?").get(key);
    return row === undefined ? undefined : String(row["value"]);
  }

  #setMeta(key: string, value: string): void {
    this.#db.prepare("insert or replace into meta values (?, ?)").run(key, value);
  }
}

function readJson<S extends z.ZodType>(schema: S, text: string): z.infer<S> | undefined {
  try {
    const parsed = schema.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}
