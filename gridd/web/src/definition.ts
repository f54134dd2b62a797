/**
 * From the page's address and what was put into the frame to a definition that can be submitted
 * (BROWSER 2.6). Large values leave the definition: their bytes are to be uploaded before.
 */

import { heldBytes, inlineLength, isReference, toReference, type Reference } from "./dataref";
import { decodeObject, isObject, userParameters, type Hash } from "./hash";
import { hashOf, jobId } from "./jobid";

export interface Build {
  context?: string;
  buildContext?: string;
  filename?: string;
  target?: string;
  dockerfile?: string;
  buildArgs?: string[];
  platform?: string;
}

export interface Definition {
  image?: string;
  build?: Build;
  command?: string;
  entrypoint?: string;
  workdir?: string;
  env?: Record<string, string>;
  shmSize?: string;
  maxDuration?: string;
  tags?: string[];
  requirements?: { cpus?: number; gpus?: number; memory?: string; maxDuration?: string };
  inputs?: Record<string, Reference>;
  configFiles?: Record<string, Reference>;
  [unknown: string]: unknown;
}

export interface Prepared {
  id: string;
  definition: Definition;
  /** By sha256: bytes that must be on the grid before the definition is. */
  uploads: Map<string, Uint8Array<ArrayBuffer>>;
}

/** Length of a value beyond which it is uploaded (BROWSER 2.7). */
const INLINE_MAX = 200;

/** The definition as it is in the address, before what the frame was given. */
export function written(hash: Hash, base?: Definition): Definition | undefined {
  const start = base ?? (decodeObject(hash.params.get("job")) as Definition | undefined);
  const files = decodeObject(hash.params.get("inputs"));
  if (!start && !files) return undefined;
  const definition = structuredClone(start ?? {});
  const parameters = userParameters(hash);
  if (Object.keys(parameters).length) fill(definition, parameters);
  if (files) {
    definition.configFiles = {};
    for (const [name, value] of Object.entries(files)) {
      definition.configFiles[name] = { type: "utf8", value: String(value) };
    }
  }
  return definition;
}

function fill(definition: Definition, parameters: Record<string, string>): void {
  definition.env = { ...(isObject(definition.env) ? definition.env : {}), ...parameters };
  for (const [name, value] of Object.entries(parameters)) {
    const hole = "${" + name + "}";
    // A function: `$` has a meaning in a replacement text.
    if (definition.command) definition.command = String(definition.command).replace(hole, () => value);
    if (definition.build?.context) {
      definition.build.context = definition.build.context.replace(hole, () => value);
    }
  }
}

/** Is there something to run? A command alone asks for a process on the worker's own machine. */
export function isRunnable(definition: Definition | undefined): definition is Definition {
  return Boolean(definition && (definition.image || hasBuild(definition) || definition.command));
}

export function hasBuild(definition: Definition): boolean {
  return isObject(definition.build) && Object.values(definition.build).some(Boolean);
}

/** `inputs`: everything the frame was given so far, by pipe. `base` is the grid's address. */
export async function prepare(
  definition: Definition, inputs: Record<string, unknown>, base: string,
): Promise<Prepared> {
  const whole = structuredClone(definition);
  const given = await references(inputs);
  if (Object.keys(given).length) whole.inputs = { ...(whole.inputs ?? {}), ...given };
  const uploads: Prepared["uploads"] = new Map();
  for (const files of [whole.inputs, whole.configFiles]) {
    for (const [name, reference] of Object.entries(files ?? {})) {
      files![name] = outsourced(reference, base, uploads);
    }
  }
  return { id: jobId(whole), definition: whole, uploads };
}

async function references(inputs: Record<string, unknown>): Promise<Record<string, Reference>> {
  const found: Record<string, Reference> = {};
  for (const [pipe, value] of Object.entries(inputs)) {
    const reference = pipe === "job" ? undefined : await toReference(value);
    if (reference) found[pipe.replace(/^\//, "")] = reference;
  }
  return found;
}

function outsourced(reference: Reference, base: string, uploads: Prepared["uploads"]): Reference {
  if (!isReference(reference) || inlineLength(reference) <= INLINE_MAX) return reference;
  const bytes = heldBytes(reference);
  if (!bytes) return reference;
  const hash = hashOf(bytes);
  uploads.set(hash, bytes);
  return { value: `${base}/f/${hash}`, type: "url", hash };
}
