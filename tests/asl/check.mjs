// Checks every machine against the Amazon States Language, with its substitutions filled in.
// What this validator does not see (a wrong error name, a loop without a bound) is the contract test's.
import { readFileSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import validate from "asl-validator";

const machines = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "state-machines");

/** A value of the right kind for a substitution: the names are compared with the template elsewhere. */
function value(name) {
  if (name === "Partition") return "aws";
  if (name.endsWith("Seconds")) return "3600";
  if (name === "KmsKeys") return "{}";
  return `arn:aws:lambda:us-east-1:000000000000:function:${name}`;
}

let bad = 0;
const files = readdirSync(machines).filter((name) => name.endsWith(".asl.json"));
for (const file of files) {
  const text = readFileSync(join(machines, file), "utf8").replace(/\$\{(\w+)\}/g, (_, name) => value(name));
  const result = validate(JSON.parse(text));
  if (!result.isValid) {
    bad += 1;
    console.error(`${file}: ${result.errorsText("\n  ")}`);
  } else {
    console.log(`${file}: valid`);
  }
}
if (files.length === 0 || bad > 0) process.exit(1);
