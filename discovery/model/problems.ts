import type { z } from "zod";
import type { Problem } from "#kernel/result.ts";

/** `["spec", "rules", 0, "name"]` as `spec.rules[0].name`. */
export function pathText(path: readonly PropertyKey[]): string {
  let text = "";
  for (const step of path) {
    if (typeof step === "number") text += `[${step}]`;
    else text += text === "" ? String(step) : `.${String(step)}`;
  }
  return text;
}

/** Every issue that a schema found, as problems of `source`. */
export function problemsOf(error: z.ZodError, source: string): Problem[] {
  return error.issues.map((issue) => ({
    source,
    path: pathText(issue.path),
    message: issue.message,
  }));
}
