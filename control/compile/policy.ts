import {
  fieldsOf,
  type Kept,
  least,
  POLICY_FIELDS,
  type PolicyField,
  policyOf,
  tighten,
} from "#control/compile/policy_fields.ts";
import type { PolicyOrder } from "#control/compile/policy_orders.ts";
import { type ClusterName, isWithin, lineage, type MeshName } from "#model/names.ts";
import type { Order } from "#model/order.ts";
import type { PolicyOrigin } from "#model/snapshot.ts";
import {
  limitIdentity,
  NOWHERE,
  type RateLimit,
  type TrafficPolicy,
} from "#model/traffic_policy.ts";

/** What holds for one service, and why. */
export interface EffectivePolicy {
  /** Undefined: nobody says anything. */
  readonly policy: TrafficPolicy | undefined;
  /** A policy each that says something of it, and what of that does not hold. */
  readonly origins: readonly PolicyOrigin[];
  /** The latter by itself. */
  readonly refused: readonly Refused[];
}

/** Who says something: a policy, or an operator's pin. */
type Author = Pick<PolicyOrder, "from" | "name">;

/** A value and whose it is. */
interface Said<V> {
  readonly value: V;
  readonly by: Author;
}

/** All that one level says, or several levels together. */
interface Level {
  readonly fields: Map<PolicyField, Said<unknown>>;
  /** Rate limits by what makes them the same one. */
  readonly limits: Map<string, SaidLimit>;
}

/** A rate limit with all clusters that have written it: each leases it by itself. */
interface SaidLimit extends Said<RateLimit> {
  readonly from: readonly string[];
}

/** Something that an author says and that does not hold. */
interface Refused {
  readonly by: Author;
  /** As a TrafficPolicy calls it; `rateLimits.NAME.rate`, `.burst`. */
  readonly field: string;
  readonly problem: "looser" | "contradiction" | "outside";
  readonly text: string;
}

/**
 * The policies in force in one cluster: its own and those of every cluster above it. Within a cluster a policy for a
 * service beats the one for all, field by field; from the core down what is said goes together by
 * {@link POLICY_FIELDS}.
 */
export class Policies {
  /** From the core down; of each, what names a service by that, and what names none by undefined. */
  readonly #levels: ReadonlyArray<ByService>;
  readonly #pins: ReadonlyMap<string, Extract<Order, { kind: "pin" }>>;
  readonly #leases: ReadonlyMap<string, number>;
  /** Of every service that no policy names. */
  #ofAll: EffectivePolicy | undefined = undefined;
  readonly #named: ReadonlySet<string>;

  /** @param orders of clusters that are neither `cluster` nor above it are not followed. */
  constructor(mesh: MeshName, cluster: ClusterName, orders: readonly Order[]) {
    const line = lineage(cluster, mesh).reverse();
    const byLevel = new Map<string, Order[]>(line.map((level) => [level, []]));
    for (const order of orders) byLevel.get(order.from)?.push(order);
    const levels: ByService[] = [];
    const pins = new Map<string, Extract<Order, { kind: "pin" }>>();
    const leases = new Map<string, number>();
    const named = new Set<string>();
    for (const given of byLevel.values()) {
      const policies: PolicyOrder[] = [];
      for (const order of given) {
        if (order.kind === "policy") policies.push(order);
        // Of several levels the lowest has said it last.
        else if (order.kind === "pin") pins.set(order.service, order);
        else if (order.kind === "lease") leases.set(leaseKey(order), order.rate);
        if (order.kind !== "drain" && order.service !== undefined) named.add(order.service);
      }
      if (policies.length > 0) levels.push(Map.groupBy(policies, (policy) => policy.service));
    }
    this.#levels = levels;
    this.#pins = pins;
    this.#leases = leases;
    this.#named = named;
  }

  /** What holds for a service, by its name in the mesh. */
  of(service: string): EffectivePolicy {
    if (this.#named.has(service)) return this.#merge(service);
    this.#ofAll ??= this.#merge(service);
    return this.#ofAll;
  }

  #merge(service: string): EffectivePolicy {
    const refused: Refused[] = [];
    const all = this.#levels.reduce<Level>(
      (above, policies) => below(above, levelOf(policies, service), refused),
      { fields: new Map(), limits: new Map() },
    );
    const pin = this.#pins.get(service);
    if (pin !== undefined) {
      const by = { from: pin.from, name: "an operator's pin" };
      all.fields.set("places.pin", { value: pin.cluster, by });
    }
    settle(all, refused);
    const limits = this.#limitsOf(all, service);
    if (limits.length > 0) {
      all.fields.set("rateLimits", { value: limits, by: { from: "", name: "" } });
    }
    const fields = [...all.fields].map(([field, { value }]) => [field, value] as const);
    return { policy: policyOf(fields), origins: originsOf(all, refused), refused };
  }

  /** With this cluster's parts of mesh-wide ones, each under a name of its own. */
  #limitsOf({ limits }: Level, service: string): RateLimit[] {
    const names = new Map<string, number>();
    return Array.from(limits.values(), ({ value, from }) => {
      const before = names.get(value.name) ?? 0;
      names.set(value.name, before + 1);
      const name = before === 0 ? value.name : `${value.name}-${before + 1}`;
      if (value.scope === "Local") return { ...value, name };
      const leases = from.flatMap(
        (cluster) =>
          this.#leases.get(leaseKey({ service, limit: value.name, by: value.by, from: cluster })) ??
          [],
      );
      return leases.length === 0
        ? { ...value, name }
        : { ...value, name, leased: Math.min(...leases) };
    });
  }
}

/** Policies of one cluster, each in its place: with ten thousand nobody can look through all for each service. */
type ByService = ReadonlyMap<string | undefined, readonly PolicyOrder[]>;

/** What the policies of one cluster say of a service. */
function levelOf(policies: ByService, service: string): Level {
  const level: Level = { fields: new Map(), limits: new Map() };
  const [forAll = [], own = []] = [policies.get(undefined), policies.get(service)];
  // Two for one target are refused where they are written; here the first in the file has the last word.
  for (const by of [...forAll.toReversed(), ...own.toReversed()]) {
    for (const [field, value] of fieldsOf(by.policy)) {
      if (field === "balance.algorithm") level.fields.delete("balance.hashOn");
      if (field !== "rateLimits") level.fields.set(field, { value, by });
    }
    for (const value of by.policy.rateLimits ?? []) {
      for (const [key, known] of level.limits) {
        if (known.value.name === value.name) level.limits.delete(key);
      }
      level.limits.set(keyOf(value), { value, by, from: [by.from] });
    }
  }
  return level;
}

function leaseKey(lease: Omit<Extract<Order, { kind: "lease" }>, "kind" | "rate">): string {
  return `${lease.from} ${lease.service} ${limitIdentity({ name: lease.limit, by: lease.by })}`;
}

/** A limit of the same name for other clients, or of another scope, is another limit. */
function keyOf(limit: RateLimit): string {
  return `${limit.scope} ${limitIdentity(limit)}`;
}

/** A level under all that are above it, into which it is merged. */
function below(above: Level, level: Level, refused: Refused[]): Level {
  for (const [field, said] of level.fields) {
    if (field === "balance.algorithm") above.fields.delete("balance.hashOn");
    const before = above.fields.get(field);
    above.fields.set(field, before === undefined ? said : kept(field, before, said, refused));
  }
  for (const [key, said] of level.limits) {
    const before = above.limits.get(key);
    above.limits.set(key, before === undefined ? said : keptLimit(before, said, refused));
  }
  return above;
}

function kept(
  field: PolicyField,
  above: Said<unknown>,
  said: Said<unknown>,
  refused: Refused[],
): Said<unknown> {
  const { value, of, problem } = tighten(field, above.value, said.value);
  tell(POLICY_FIELDS[field].said, above, said, problem, refused);
  return { value, by: of === "parent" ? above.by : said.by };
}

function keptLimit(above: SaidLimit, said: SaidLimit, refused: Refused[]): SaidLimit {
  const merged = (part: "rate" | "burst"): Kept<number> => {
    const one = least(above.value[part], said.value[part]);
    const [parent, child] = [above, said].map(({ value, by }) => ({ value: value[part], by }));
    tell(`rateLimits.${said.value.name}.${part}`, parent!, child!, one.problem, refused);
    return one;
  };
  const [rate, burst] = [merged("rate"), merged("burst")];
  const isChilds = rate.of === "child" || burst.of === "child";
  return {
    value: { ...above.value, rate: rate.value, burst: burst.value },
    by: isChilds ? said.by : above.by,
    from: [...above.from, ...said.from],
  };
}

function tell(
  field: string,
  above: Said<unknown>,
  said: Said<unknown>,
  problem: Kept<unknown>["problem"],
  refused: Refused[],
): void {
  if (problem === undefined) return;
  const how = problem === "looser" ? "is looser than" : "excludes";
  const shown = (value: unknown): string =>
    field.endsWith("Percent") ? `${100 * (value as number)} %` : String(value);
  const text = `${shown(said.value)} ${how} ${shown(above.value)} of ${above.by.from} ${above.by.name}`;
  refused.push({ by: said.by, field, problem, text });
}

/** Drops what cannot be followed beside the rest. */
function settle({ fields }: Level, refused: Refused[]): void {
  if (fields.get("hedging.percentile")?.value === 0) {
    fields.delete("hedging.percentile");
    fields.delete("hedging.minDelayMs");
  }
  const fence = fields.get("places.mustStayIn");
  if (fence === undefined) return;
  const within = fence.value as string;
  const drop = ({ by }: Said<unknown>, field: PolicyField, cluster: string): void => {
    if (within === NOWHERE) return;
    const text = `${cluster} is outside of mustStayIn ${within} of ${fence.by.from} ${fence.by.name}`;
    refused.push({ by, field, problem: "outside", text });
  };
  const pin = fields.get("places.pin");
  if (pin !== undefined && !isWithin(pin.value as string, within)) {
    drop(pin, "places.pin", pin.value as string);
    fields.delete("places.pin");
  }
  const split = fields.get("places.split");
  if (split === undefined) return;
  const parts = split.value as NonNullable<NonNullable<TrafficPolicy["places"]>["split"]>;
  const left = parts.filter(({ cluster }) => {
    const isInside = isWithin(cluster, within);
    if (!isInside) drop(split, "places.split", cluster);
    return isInside;
  });
  if (left.some(({ weight }) => weight > 0)) fields.set("places.split", { ...split, value: left });
  else fields.delete("places.split");
}

/** Everybody who says something, with what holds of it and what does not. */
function originsOf({ fields, limits }: Level, refused: readonly Refused[]): PolicyOrigin[] {
  const origins = new Map<string, PolicyOrigin>();
  const at = ({ from, name }: Author): PolicyOrigin => {
    const key = `${from} ${name}`;
    let origin = origins.get(key);
    if (origin === undefined) {
      origin = { cluster: from, policy: name, fields: [], refused: [] };
      origins.set(key, origin);
    }
    return origin;
  };
  for (const [field, { by }] of fields) {
    const { rule, said } = POLICY_FIELDS[field];
    if (rule !== "union") at(by).fields.push(said);
  }
  for (const { value, by } of limits.values()) at(by).fields.push(`rateLimits.${value.name}`);
  for (const { by, field, text } of refused) at(by).refused.push(`${field}: ${text}`);
  return [...origins.values()];
}
