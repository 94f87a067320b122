// What is wrong with custom resources, by their own schemas: node judge.mjs OBJECTS.json, from beside node_modules.
// OBJECTS.json is a list; the answer is a list of as many lists of sentences. The packages' validators know values, and
// their types every field, so that an unknown one is found (excess property check of TypeScript).
import { readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";

const PACKAGES = {
  "autoscaling.k8s.io": "autoscaler",
  "gateway.networking.k8s.io": "gateway-api",
  "monitoring.coreos.com": "prometheus-operator",
};
const objects = JSON.parse(readFileSync(process.argv[2], "utf8"));

function moduleOf({ apiVersion, kind }) {
  const group = apiVersion.split("/")[0];
  return `@kubernetes-models/${PACKAGES[group]}/${apiVersion}/${kind}`;
}

async function wrongValues(object) {
  const found = await import(moduleOf(object));
  try {
    new found[object.kind](object).validate();
    return [];
  } catch (error) {
    return (error.errors ?? [{ message: String(error) }]).map((one) => `${one.instancePath ?? ""} ${one.message}`.trim());
  }
}

function unknownFields() {
  const lines = objects.map((one, index) => {
    const type = `import("${moduleOf(one)}").I${one.kind}`;
    return `export const o${index}: ${type} = ${JSON.stringify(one)};`;
  });
  const name = join(process.cwd(), "objects.ts");
  const options = {
    noEmit: true,
    strict: true,
    skipLibCheck: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
  };
  const host = ts.createCompilerHost(options);
  const read = host.readFile, exists = host.fileExists, source = host.getSourceFile;
  host.readFile = (file) => (file === name ? lines.join("\n") : read(file));
  host.fileExists = (file) => file === name || exists(file);
  host.getSourceFile = (file, language) =>
    file === name ? ts.createSourceFile(file, lines.join("\n"), language) : source(file, language);
  const answer = objects.map(() => []);
  const program = ts.createProgram([name], options, host);
  for (const one of ts.getPreEmitDiagnostics(program)) {
    const text = ts.flattenDiagnosticMessageText(one.messageText, " ");
    if (one.file?.fileName !== name) throw new Error(text);
    answer[one.file.getLineAndCharacterOfPosition(one.start).line].push(text);
  }
  return answer;
}

const fields = unknownFields();
const values = await Promise.all(objects.map(wrongValues));
process.stdout.write(JSON.stringify(objects.map((_, index) => [...values[index], ...fields[index]])));
