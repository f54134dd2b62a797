/**
 * The id of a job: the sha256 of what its definition asks for. The same recipe as everywhere else;
 * `protocol/vectors/job-id.json` holds all of them to it.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { isInjected, isObject, stableJson } from "./hash";
import type { Definition } from "./definition";

const SCALARS = ["v", "image", "command", "entrypoint", "workdir", "shmSize", "maxDuration", "tags"];
const BUILD = ["context", "buildContext", "filename", "target", "dockerfile", "buildArgs", "platform"];
const REQUIREMENTS = ["cpus", "gpus", "maxDuration", "memory"];
const BUCKET = "https://metaframe-asman-test.s3.us-west-1.amazonaws.com";

type Members = Record<string, unknown>;

export function hashOf(bytes: Uint8Array): string {
  return bytesToHex(sha256(bytes));
}

/** Throws for a definition that can't be hashed. */
export function jobId(definition: Definition | Members): string {
  return hashOf(utf8ToBytes(stableJson(hashed(definition as Members))));
}

function hashed(definition: Members): Members {
  const kept: Members = own(picked(definition, SCALARS));
  if (definition.build) put(kept, "build", picked(object(definition, "build"), BUILD));
  if (definition.requirements) {
    put(kept, "requirements", picked(object(definition, "requirements"), REQUIREMENTS));
  }
  if (definition.env) put(kept, "env", environment(object(definition, "env")));
  for (const name of ["inputs", "configFiles"]) {
    if (definition[name]) put(kept, name, references(object(definition, name)));
  }
  return kept;
}

/** Without a prototype: a definition may have a member called `__proto__`. */
function own(members: Members): Members {
  return Object.assign(Object.create(null) as Members, members);
}

function object(definition: Members, name: string): Members {
  const value = definition[name];
  if (!isObject(value)) throw new Error(`definition.${name} is not an object`);
  return value;
}

function put(kept: Members, name: string, value: Members): void {
  if (Object.keys(value).length) kept[name] = value;
}

function picked(source: Members, names: string[]): Members {
  const kept = own({});
  for (const name of names) {
    if (Object.hasOwn(source, name) && source[name] !== null && source[name] !== undefined) {
      kept[name] = source[name];
    }
  }
  return kept;
}

function environment(env: Members): Members {
  const kept = own({});
  for (const key of Object.keys(env)) if (!isInjected(key)) kept[key] = env[key];
  return kept;
}

function references(files: Members): Members {
  const kept = own({});
  for (const name of Object.keys(files)) {
    const reference = files[name];
    if (reference === null) throw new Error(`the file ${name} is null`);
    kept[name] = isObject(reference) ? whatCounts(reference) : {};
  }
  return kept;
}

function whatCounts(reference: Members): Members {
  const kept: Members = {};
  if ("value" in reference) {
    const { type, value } = reference;
    kept.value = type === "url" && typeof value === "string" ? lasting(value) : value;
  }
  if (reference.type !== null && reference.type !== undefined) kept.type = reference.type;
  return kept;
}

/** A link without the parts that change from one signing to the next. */
function lasting(url: string): string {
  const at = url.indexOf("/presignedurl/");
  if (at >= 0) return url.slice(0, at);
  if (!url.startsWith(BUCKET)) return url;
  try {
    const parsed = new URL(url);
    return `${parsed.protocol}//${parsed.host}${parsed.pathname}`;
  } catch {
    return url;
  }
}
