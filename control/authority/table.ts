import type { BusPermissions } from "#discovery/bus/bus.ts";
import { DOWN_ALL, downOf, POKE, UP_ALL, upOf } from "#discovery/sync/subjects.ts";

/*
 * Who may do what at a control service: one table, and nothing that is not in it. The
 * bus's permissions are computed from it and every RPC is checked against it.
 */

/** Roles that a peer of a control service can have. */
export type Role =
  /** The control service itself, on its own bus. */
  | "self"
  /** The control service of a registered child. */
  | "child"
  /** This cluster's gateway. */
  | "gateway"
  /** Another proxy of this cluster. */
  | "workload"
  /** Anybody who has reached the enrolment port; a token is still to be shown. */
  | "anonymous";

export type Action =
  | { readonly kind: "publish" | "subscribe"; readonly subject: (child: string) => string }
  | { readonly kind: "call"; readonly method: Method };

/** Every RPC that there is: `Service/Method` of `espalier.proto`. */
export const METHODS = [
  "Snapshots/Stream",
  "Identity/RenewLeaf",
  "Identity/RenewAuthority",
  "Enrolment/Join",
] as const;
export type Method = (typeof METHODS)[number];

export interface Row {
  readonly role: Role;
  readonly action: Action;
}

const call = (role: Role, method: Method): Row => ({ role, action: { kind: "call", method } });
const publish = (role: Role, subject: (child: string) => string): Row => ({
  role,
  action: { kind: "publish", subject },
});
const subscribe = (role: Role, subject: (child: string) => string): Row => ({
  role,
  action: { kind: "subscribe", subject },
});

export const TABLE: readonly Row[] = [
  publish("self", () => DOWN_ALL),
  subscribe("self", () => UP_ALL),
  publish("child", upOf),
  subscribe("child", downOf),
  subscribe("child", () => POKE),
  call("child", "Identity/RenewAuthority"),
  call("gateway", "Snapshots/Stream"),
  call("gateway", "Identity/RenewLeaf"),
  call("workload", "Snapshots/Stream"),
  call("workload", "Identity/RenewLeaf"),
  call("anonymous", "Enrolment/Join"),
];

export function mayCall(role: Role, method: Method): boolean {
  return TABLE.some(
    ({ role: r, action }) => r === role && action.kind === "call" && action.method === method,
  );
}

/** @param child first label of the child; unused for `self`. */
export function busPermissions(role: "self" | "child", child: string): BusPermissions {
  const subjects = (kind: "publish" | "subscribe"): string[] =>
    TABLE.flatMap(({ role: r, action }) =>
      r === role && action.kind === kind ? [action.subject(child)] : [],
    );
  return { publish: subjects("publish"), subscribe: subjects("subscribe") };
}
