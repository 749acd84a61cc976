import {
  type Finding,
  importsOf,
  pathOfImport,
  type Rule,
  type SourceFile,
} from "#test/tidy/source.ts";

/** What each part may import, besides itself. Types count as well. */
const LADDER: Readonly<Record<string, readonly string[]>> = {
  kernel: [],
  "discovery/model": ["kernel"],
  discovery: ["kernel", "discovery/model"],
  certs: ["kernel", "discovery/model", "discovery"],
  proxy: ["kernel", "discovery/model", "discovery", "certs"],
  control: ["kernel", "discovery/model", "discovery", "certs"],
  cli: ["kernel", "discovery/model", "discovery", "certs", "proxy", "control"],
  test: ["kernel", "discovery/model", "discovery", "certs", "proxy", "control", "cli", "bench"],
  bench: ["kernel", "discovery/model", "discovery", "certs", "proxy", "control", "cli", "test"],
};

function partOf(path: string): string {
  return path.startsWith("discovery/model/") ? "discovery/model" : path.split("/", 1)[0]!;
}

export const importLadder: Rule = (files) =>
  files.flatMap(({ path, text }) => {
    const part = partOf(path);
    const allowed = LADDER[part];
    if (allowed === undefined) {
      return [{ path, line: 1, says: `no part of the layout; put it into ${Object.keys(LADDER)}` }];
    }
    return importsOf(text).flatMap(({ from, line }) => {
      if (from.startsWith(".")) {
        return [{ path, line, says: `import "${from}" by its stable name: #${part}/…` }];
      }
      const target = pathOfImport(from);
      if (target === undefined) return [];
      const other = partOf(target);
      if (other === part || allowed.includes(other)) return [];
      return [
        { path, line, says: `${part} may not import ${other}: pass it in as a port instead` },
      ];
    });
  });

/** Folders of the proxy that know no more than the types of those that stand on them. */
const BELOW: Readonly<Record<string, readonly string[]>> = {
  "proxy/exchange": ["proxy/exchange"],
  "proxy/socket": ["proxy/exchange", "proxy/socket"],
};

export const lowFolders: Rule = (files) =>
  files.flatMap(({ path, text }) => {
    const folder = path.slice(0, path.lastIndexOf("/"));
    const allowed = BELOW[folder];
    if (allowed === undefined) return [];
    return importsOf(text).flatMap(({ from, line, typeOnly }) => {
      const target = pathOfImport(from) ?? "";
      if (
        typeOnly ||
        !target.startsWith("proxy/") ||
        allowed.some((one) => target.startsWith(`${one}/`))
      ) {
        return [];
      }
      return [{ path, line, says: `${folder} stands below ${target}` }];
    });
  });

/** Cycles over imports of values; types may refer to each other. */
export const noCycles: Rule = (files) => {
  const graph = new Map(
    files.map(({ path, text }) => [
      path,
      importsOf(text)
        .filter(({ typeOnly }) => !typeOnly)
        .flatMap(({ from }) => pathOfImport(from) ?? []),
    ]),
  );
  const findings: Finding[] = [];
  const done = new Set<string>();
  const walk = (path: string, trail: readonly string[]): void => {
    const at = trail.indexOf(path);
    if (at >= 0) {
      const cycle = [...trail.slice(at), path].join(" → ");
      findings.push({ path, line: 1, says: `cycle ${cycle}: move what both need below both` });
      return;
    }
    if (done.has(path)) return;
    for (const next of graph.get(path) ?? []) walk(next, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) walk(path, []);
  return findings;
};

/** Files whose decisions must be functions of their arguments alone. */
const PURE = [
  /^discovery\/model\//,
  /^discovery\/sync\/(?:owner|follower|lease|subjects|messages)\.ts$/,
  /^discovery\/bus\/(?:bus|subjects|memory|nats_config)\.ts$/,
  /^kernel\/(?:assert|backoff|bounded_queue|brand|linked_list|result|timer_wheel|virtual_clock)\.ts$/,
  /^certs\/identity\//,
  /^certs\/x509\/(?:certificate|der|pem|rules|root)\.ts$/,
  /^proxy\/(?:admit|authorize|balance|exchange|filter|relay|retry|route)\//,
  /^proxy\/health\//,
  /^proxy\/http2\/(?:field_roles|field_writer|fields|frames|hpack_\w+)\.ts$/,
  /^proxy\/http1\/(?:parser_body|parser_fields|parser_head|serializer)\.ts$/,
  /^control\/authority\//,
  /^control\/catalog\//,
  /^control\/compile\/(?:http_rule|mesh|routes|static)\.ts$/,
  /^control\/config\/(?:parse|references|resources|scalars|schema|schema_route)\.ts$/,
  /^control\/app\/control_service\.ts$/,
];

export function isPure(path: string): boolean {
  return PURE.some((pattern) => pattern.test(path));
}

export const pureFiles: Rule = (files) =>
  files
    .filter(({ path }) => isPure(path))
    .flatMap(({ path, text }) =>
      importsOf(text)
        .filter(({ from, typeOnly }) => !typeOnly && from.startsWith("node:"))
        .map(({ from, line }) => ({
          path,
          line,
          says: `a pure file may not import ${from}: take what it needs as an argument`,
        })),
    );

/** Entry points: what is run rather than imported. */
const ENTRIES = [/^cli\/(?:main|worker)\.ts$/, /\.test\.ts$/, /^bench\/[^/]+\/[a-z0-9_]+\.ts$/];

export const noDeadFiles: Rule = (files) => {
  const byPath = new Map<string, SourceFile>(files.map((file) => [file.path, file]));
  const reached = new Set<string>();
  const queue = [...byPath.keys()].filter((path) => ENTRIES.some((entry) => entry.test(path)));
  const fromTests = new Set(queue.filter((path) => path.startsWith("test/")));
  const walk = (start: readonly string[]): void => {
    const open = [...start];
    for (let path = open.pop(); path !== undefined; path = open.pop()) {
      if (reached.has(path)) continue;
      reached.add(path);
      for (const { from } of importsOf(byPath.get(path)?.text ?? "")) {
        const next = pathOfImport(from);
        if (next !== undefined) open.push(next);
      }
    }
  };
  // A file that only its own test needs is dead as well.
  walk(queue.filter((path) => !fromTests.has(path)));
  const dead = [...byPath.keys()].filter((path) => !reached.has(path) && !path.startsWith("test/"));
  walk([...fromTests]);
  const deadTests = [...byPath.keys()].filter(
    (path) => !reached.has(path) && path.startsWith("test/"),
  );
  return [...dead, ...deadTests]
    .filter((path) => !TEST_DOUBLES.has(path))
    .map((path) => ({ path, line: 1, says: "nothing that runs imports it: use it or remove it" }));
};

/** Production parts that stand in for an effect in tests: kept beside what they stand in for. */
const TEST_DOUBLES = new Set(["kernel/virtual_clock.ts"]);
