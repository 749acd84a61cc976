/* Subjects on a parent's bus (reference: NATS, §2). The child's label is what its broker authorised. */

const UP = "mesh.v1.up";
const DOWN = "mesh.v1.dn";

/** Everything that children say. */
export const UP_ALL = `${UP}.>`;
/** Everything that the parent says. */
export const DOWN_ALL = `${DOWN}.>`;
/** The parent asks all its children for a heartbeat: it has just started. */
export const POKE = `${DOWN}.all.poke`;

/** What `child` may say. */
export function upOf(child: string): string {
  return `${UP}.${child}.>`;
}

/** What is said to `child`. */
export function downOf(child: string): string {
  return `${DOWN}.${child}.>`;
}

/** Of the child's own facts: `delta`, `hb`, `snap`, `bye`. */
export function factSubject(child: string, kind: string): string {
  return `${UP}.${child}.${kind}`;
}

/** The child asks for a snapshot of its view. */
export function needViewSubject(child: string): string {
  return `${UP}.${child}.need.view`;
}

/** The parent asks for a snapshot of the child's facts. */
export function needFactsSubject(child: string): string {
  return `${DOWN}.${child}.need`;
}

/** The child asks for a snapshot of its orders. */
export function needOrdersSubject(child: string): string {
  return `${UP}.${child}.need.order`;
}

/** Of what the child is ordered: `delta`, `hb`, `snap`. */
export function orderSubject(child: string, kind: string): string {
  return `${DOWN}.${child}.order.${kind}`;
}

/** Of the view computed for the child. */
export function viewSubject(child: string, kind: string): string {
  return `${DOWN}.${child}.view.${kind}`;
}

/** Who said it and what it is: `{ child: "eu", rest: "delta" }`. Undefined for other subjects. */
export function readUp(subject: string): { child: string; rest: string } | undefined {
  const match = /^mesh\.v1\.up\.([a-z0-9-]{1,63})\.([a-z.]+)$/.exec(subject);
  return match === null ? undefined : { child: match[1]!, rest: match[2]! };
}
