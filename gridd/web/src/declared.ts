/** Outputs that the address declares for hosts (`definition`, BROWSER 1.9), against what a run left. */

import type { Job } from "./api";
import { decodeObject, isObject, type Hash } from "./hash";

export function declaredOutputs(hash: Hash): string[] {
  const outputs = decodeObject(hash.params.get("definition"))?.outputs;
  return isObject(outputs) ? Object.keys(outputs).map((name) => name.replace(/^\//, "")) : [];
}

/** Declared, and not there after a success. A name may have `*` in it, which stands for anything. */
export function missingOutputs(declared: string[], job: Job | undefined): string[] {
  const result = job?.finished?.result;
  if (job?.finishedReason !== "Success" || !result || result.StatusCode) return [];
  const names = Object.keys(result.outputs ?? {});
  return declared.filter((pattern) => !names.some((name) => matches(pattern, name)));
}

function matches(pattern: string, name: string): boolean {
  const parts = pattern.split(/\*+/).map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`).test(name);
}
