import { codeOf, type Finding, lineAt, type Rule } from "#test/tidy/source.ts";

interface Ban {
  readonly pattern: RegExp;
  readonly instead: string;
  /** Files that may. */
  readonly except?: RegExp;
}

const BANS: readonly Ban[] = [
  {
    pattern: /\bDate\.now\(|\bperformance\.now\(|new Date\(\)/g,
    instead: "time is a port: take a Clock, or `now` as an argument",
    except: /^kernel\/clock\.ts$|^(?:test|bench)\//,
  },
  {
    pattern: /\b(?:setTimeout|setInterval)\(/g,
    instead: "timers are a port: Clock.after, Clock.every or the timer wheel",
    except: /^kernel\/clock\.ts$|^(?:test|bench)\//,
  },
  {
    pattern: /\bsetImmediate\(/g,
    instead:
      "what waits for the end of a turn is flushed by proxy/socket/work.ts; timers are a port",
    except: /^(?:kernel\/clock|proxy\/socket\/work)\.ts$|^(?:test|bench)\//,
  },
  {
    pattern: /\bMath\.random\(/g,
    instead: "chance is a port: take an Rng",
    except: /^kernel\/rng\.ts$|^(?:test|bench)\//,
  },
  {
    pattern: /\bprocess\.(?!nextTick|pid\b)/g,
    instead: "the process belongs to the composition root: do it in cli/",
    except:
      /^(?:cli|test|bench)\/|^proxy\/app\/worker_(?:pool|process)\.ts$|^discovery\/bus\/nats_server\.ts$/,
  },
  { pattern: /^\s*(?:export\s+)?(?:const\s+)?enum\s/gm, instead: "a union of string literals" },
  { pattern: /^\s*(?:export\s+)?namespace\s/gm, instead: "a file is a namespace already" },
  { pattern: /^export default\b/gm, instead: "a named export: one name everywhere" },
  { pattern: /^export \* from/gm, instead: "import from the file that says it: no barrels" },
  {
    pattern: /:\s*any\b|<any>|\bas any\b/g,
    instead: "unknown, and a parser at the border",
    except: /^test\/tidy\//,
  },
];

/** Words that may not stand in comments: they promise instead of doing. */
const PROMISES = /\b(?:TODO|FIXME|XXX|HACK)\b/g;

export const banned: Rule = (files) =>
  files.flatMap(({ path, text }) => {
    const code = codeOf(text);
    const findings: Finding[] = [];
    for (const { pattern, instead, except } of BANS) {
      if (except?.test(path) === true) continue;
      for (const found of code.matchAll(pattern)) {
        findings.push({
          path,
          line: lineAt(code, found.index),
          says: `${found[0].trim()}: ${instead}`,
        });
      }
    }
    if (path.startsWith("test/tidy")) return findings;
    for (const found of text.matchAll(PROMISES)) {
      findings.push({
        path,
        line: lineAt(text, found.index),
        says: `${found[0]}: do it, or open an issue`,
      });
    }
    return findings;
  });

const VAGUE = /\/(?:utils?|helpers?|common|misc|manager|base|index|mod|types)\.ts$/;

export const fileNames: Rule = (files) =>
  files.flatMap(({ path }) => {
    if (VAGUE.test(`/${path}`)) {
      return [
        { path, line: 1, says: "the name does not say what it does: name it for its one thing" },
      ];
    }
    if (/^[a-z0-9_/]+(?:\.test)?\.ts$/.test(path)) return [];
    return [{ path, line: 1, says: "names are lower case with underscores" }];
  });

/** Lines of a file. */
const LINES = { median: 120, p95: 400, hard: 600 } as const;
const COLUMNS = 120;

export const lengths: Rule = (files) => {
  const findings: Finding[] = [];
  const sizes: number[] = [];
  for (const { path, text } of files) {
    const lines = text.split("\n");
    if (!path.startsWith("test/")) sizes.push(lines.length);
    if (lines.length > LINES.hard) {
      findings.push({ path, line: 1, says: `${lines.length} lines: split it by what it does` });
    }
    lines.forEach((line, i) => {
      // A template's text may be as wide as what it prints.
      if (line.length > COLUMNS && !/[`"]/.test(line)) {
        findings.push({ path, line: i + 1, says: `over ${COLUMNS} columns: run make fmt` });
      }
    });
  }
  sizes.sort((a, b) => a - b);
  const at = (share: number): number => sizes[Math.floor((sizes.length - 1) * share)] ?? 0;
  const whole = (says: string): Finding => ({ path: "(all files)", line: 1, says });
  if (at(0.5) > LINES.median) findings.push(whole(`median ${at(0.5)} lines: split the largest`));
  if (at(0.95) > LINES.p95) findings.push(whole(`p95 ${at(0.95)} lines: split the largest`));
  return findings;
};

const EXPORTED =
  /^export (?:abstract )?(?:async )?(?:function\*?|class|interface|type|const) ([A-Za-z_]\w*)/gm;

/** Whatever others use says what it means. A type made from the schema above it needs no words. */
export const documented: Rule = (files) =>
  files
    .filter(({ path }) => !/^(?:test|bench)\//.test(path))
    .flatMap(({ path, text }) =>
      Array.from(text.matchAll(EXPORTED)).flatMap((found) => {
        const before = text.slice(0, found.index).trimEnd();
        const isInferred = /^export type \w+ = z\.infer</.test(text.slice(found.index));
        const isCommand = /^cli\/commands\//.test(path) && found[1]!.startsWith("register");
        const groups = /\*\/\n?$/.test(before) || /^\/\*[^*]/m.test(text.slice(0, 2_000));
        // The options of a thing are said by the thing and by their own fields.
        const isOptions = /Options$/.test(found[1]!);
        if (isInferred || isCommand || isOptions || before.endsWith("*/") || groups) return [];
        const line = lineAt(text, found.index);
        return [{ path, line, says: `${found[1]} is exported: say in /** */ what it means` }];
      }),
    );

/** What is exported and nobody names, not even its own file, is dead. */
export const noDeadExports: Rule = (files) => {
  const production = files.filter(({ path }) => !/^(?:test|bench)\//.test(path));
  return production
    .filter(({ path }) => !TEST_DOUBLES.has(path))
    .flatMap(({ path, text }) =>
      Array.from(text.matchAll(EXPORTED)).flatMap((found) => {
        const name = new RegExp(`\\b${found[1]!}\\b`, "g");
        const here = [...codeOf(text).matchAll(name)].length;
        if (here > 1 || production.some((f) => f.path !== path && name.test(f.text))) return [];
        const line = lineAt(text, found.index);
        return [{ path, line, says: `nobody uses ${found[1]}: remove it, or move it to test/kit` }];
      }),
    );
};

/** Stand-ins for effects, kept beside what they stand in for. */
const TEST_DOUBLES = new Set(["kernel/virtual_clock.ts", "kernel/log.ts"]);

/** Links of Markdown files to files of ours. */
export const links: Rule = (files) => {
  const known = new Set(files.map(({ path }) => path));
  const folders = new Set([...known].flatMap((path) => parentsOf(path)));
  return files
    .filter(({ path }) => path.endsWith(".md"))
    .flatMap(({ path, text }) =>
      [...text.matchAll(/\]\(([^)\s]+)\)/g), ...text.matchAll(/`([a-z0-9_./-]+\/[a-z0-9_./-]*)`/g)]
        .filter(([, target]) => isLocal(target!))
        .flatMap((found) => {
          const target = resolve(path, found[1]!.replace(/#.*$/, ""), found[0].startsWith("]"));
          if (target === "" || known.has(target) || folders.has(target.replace(/\/$/, "")))
            return [];
          const line = lineAt(text, found.index);
          return [{ path, line, says: `${found[1]} is not there: mend the link or the layout` }];
        }),
    );
};

const TOP = /^(?:kernel|discovery|certs|proxy|control|cli|test|bench|docs|deploy|tools|examples)\//;

function isLocal(target: string): boolean {
  if (/^[a-z]+:/.test(target) || target.startsWith("#")) return false;
  return target.includes(".md") || TOP.test(target) || /^[A-Z]+$/.test(target);
}

function resolve(from: string, target: string, relative: boolean): string {
  if (!relative || TOP.test(target)) return target;
  const folder = from.split("/").slice(0, -1);
  for (const step of target.split("/")) {
    if (step === "..") folder.pop();
    else if (step !== ".") folder.push(step);
  }
  return folder.join("/");
}

function parentsOf(path: string): string[] {
  const steps = path.split("/");
  return steps.map((_, i) => steps.slice(0, i).join("/")).filter((parent) => parent !== "");
}
