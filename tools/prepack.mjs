// Makes dist/ for the npm package: Node does not strip types under node_modules, so the package holds JavaScript.
// The types are blanked by Node itself, just as it does when it runs the clone: what is published is what was tested.
import { chmodSync, cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = join(root, "dist");
const FOLDERS = ["kernel", "discovery", "certs", "proxy", "control", "cli"];

rmSync(dist, { recursive: true, force: true });
for (const folder of FOLDERS) {
  for (const entry of readdirSync(join(root, folder), { recursive: true })) {
    const from = join(root, folder, entry);
    const to = join(dist, folder, entry);
    if (!/\.(?:ts|proto)$/.test(entry)) continue;
    mkdirSync(dirname(to), { recursive: true });
    if (entry.endsWith(".proto")) cpSync(from, to);
    else writeFileSync(to.replace(/\.ts$/, ".js"), stripTypeScriptTypes(readFileSync(from, "utf8")));
  }
}
// The same import names as in the clone, which end in `.ts`, lead to the JavaScript here.
const { version, imports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const emitted = Object.entries(imports)
  .filter(([, path]) => FOLDERS.some((folder) => path.startsWith(`./${folder}/`)))
  .map(([name, path]) => [`${name}.ts`, `${path}.js`]);
const manifest = { type: "module", version, imports: Object.fromEntries(emitted) };
writeFileSync(join(dist, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
chmodSync(join(dist, "cli/main.js"), 0o755);
