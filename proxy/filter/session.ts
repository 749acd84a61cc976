import type { Millis } from "#kernel/brand.ts";
import type { Persistence } from "#model/snapshot.ts";
import type { Fields } from "#proxy/exchange/exchange.ts";
import { cookieOf, fieldValue } from "#proxy/exchange/fields.ts";

/*
 * Sessions (Gateway API GEP-1619): a token in a cookie or a header names the seat that a client's requests go to:
 * `<seat>.<began>.<used>.<seal>`, the times in seconds of Unix time, base 36. A seat is an endpoint by its
 * `EndpointState.sessionKey`, or the way to it: each gateway on the way has a key of its own for its next step, the
 * first one first, joined by hyphens. The seal is the first gateway's, of the rest and of the name: nobody can make
 * himself a seat. What is at the end of the way only those know who are there. Where a step is gone the session moves.
 */

/** A way of this many steps, the last one being the endpoint. */
const STEPS_MAX = 8;
const SEAT = new RegExp(`^[0-9a-f]{16}(?:-[0-9a-f]{16}){0,${STEPS_MAX - 1}}$`);
const TOKEN = /^([0-9a-f-]{16,135})\.([0-9a-z]{1,8})\.([0-9a-z]{1,8})\.([A-Za-z0-9_-]{22})$/;

/** Proves that a text has come from a proxy of this cluster. */
export interface Seal {
  /** 22 letters of base64url. */
  of(text: string): string;
  isOf(text: string, seal: string): boolean;
}

/** A session as its token tells it. */
export interface Session {
  /** Undefined: a new session, any endpoint. */
  readonly seat: string | undefined;
  readonly beganS: number;
}

/** Tells a seat from any other text. */
export function isSeat(text: string): boolean {
  return SEAT.test(text);
}

/** The next step of a way and what remains of it; "": nothing. */
export function splitSeat(seat: string): { readonly step: string; readonly rest: string } {
  return { step: seat.slice(0, 16), rest: seat.slice(17) };
}

/** A step and the way that goes on from there, as far as it is known. */
export function joinSeat(step: string, rest: string | undefined): string {
  if (rest === undefined || !isSeat(rest)) return step;
  const way = `${step}-${rest}`;
  return isSeat(way) ? way : step;
}

/** The session of a request; a new one if there is none, if it is not ours, or if its time is over. */
export function readSession(
  rules: Persistence,
  fields: Fields,
  about: { readonly wall: Millis; readonly seal: Seal },
): Session {
  const nowS = Math.floor(about.wall / 1_000);
  const fresh: Session = { seat: undefined, beganS: nowS };
  const text = fieldValue(fields, rules.type === "Cookie" ? "cookie" : rules.name);
  const token = rules.type === "Cookie" ? cookieOf(text, rules.name) : text;
  const parts = token === undefined ? null : TOKEN.exec(token);
  if (parts === null) return fresh;
  const [, seat, began, used, seal] = parts as unknown as readonly string[];
  if (!isSeat(seat!)) return fresh;
  if (!about.seal.isOf(sealed(rules, `${seat}.${began}.${used}`), seal!)) return fresh;
  const beganS = Number.parseInt(began!, 36);
  const usedS = Number.parseInt(used!, 36);
  const { absoluteTimeoutMs, idleTimeoutMs } = rules;
  if (absoluteTimeoutMs !== undefined && nowS - beganS >= absoluteTimeoutMs / 1_000) return fresh;
  if (idleTimeoutMs !== undefined && nowS - usedS >= idleTimeoutMs / 1_000) return fresh;
  return { seat, beganS };
}

/** Tells the client the seat that served it, if it does not know or if its token ages. */
export function markSession(
  rules: Persistence,
  session: Session,
  about: {
    readonly seat: string;
    readonly wall: Millis;
    readonly seal: Seal;
    readonly secure: boolean;
  },
  answer: Fields,
): void {
  const { seat, wall, seal, secure } = about;
  if (session.seat === seat && rules.idleTimeoutMs === undefined) return;
  const nowS = Math.floor(wall / 1_000);
  const said = `${seat}.${session.beganS.toString(36)}.${nowS.toString(36)}`;
  const token = `${said}.${seal.of(sealed(rules, said))}`;
  if (rules.type === "Header") {
    answer.push(rules.name, token);
    return;
  }
  const age = rules.permanent ? `; Max-Age=${maxAgeS(rules, session, nowS)}` : "";
  const safe = secure ? "; Secure" : "";
  answer.push("set-cookie", `${rules.name}=${token}; Path=/; HttpOnly; SameSite=Lax${age}${safe}`);
}

/** A token of one name is none of another. */
function sealed({ name }: Persistence, said: string): string {
  return `session ${name} ${said}`;
}

function maxAgeS(rules: Persistence, session: Session, nowS: number): number {
  return Math.max(0, Math.floor(session.beganS + (rules.absoluteTimeoutMs ?? 0) / 1_000 - nowS));
}
