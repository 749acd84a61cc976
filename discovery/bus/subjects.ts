/* Subjects as NATS has them: tokens between dots; `*` stands for one token, a last `>` for one or more. */

/** True if `subject`, which has no wildcards, falls under `pattern`. */
export function subjectMatches(pattern: string, subject: string): boolean {
  return covers(pattern, subject);
}

/** True if whatever falls under `narrow` falls under `wide` as well. */
export function covers(wide: string, narrow: string): boolean {
  const outer = wide.split(".");
  const inner = narrow.split(".");
  for (let i = 0; i < outer.length; i++) {
    if (outer[i] === ">") return inner.length > i;
    if (i >= inner.length || inner[i] === ">") return false;
    if (outer[i] !== "*" && outer[i] !== inner[i]) return false;
  }
  return inner.length === outer.length;
}

/** True if some of `allowed` covers `subject`. */
export function isAllowed(allowed: readonly string[], subject: string): boolean {
  return allowed.some((pattern) => covers(pattern, subject));
}

/** True for a subject that can be published on: no empty token, no wildcard, no blank. */
export function isConcrete(subject: string): boolean {
  return subject.length <= 256 && /^[^\s.*>]+(?:\.[^\s.*>]+)*$/.test(subject);
}
