/**
 * What the page's link declares to the pages that embed it: names and types of inputs and outputs.
 *
 * Hosts read this instead of `metaframe.json`, not beside it (BROWSER 1.9): so all that hosts need
 * from there is written here as well. Pure.
 */

import { decodeObject, encodeJson, isObject, SYSTEM_NAMES } from "./hash";

export type Pipes = Record<string, { type?: string }>;

export interface Declared {
  inputs: Pipes;
  outputs: Pipes;
}

/** As `metaframe.json` says; a test compares them. */
export const ALLOW = "clipboard-write; clipboard-read; fullscreen; loopback-network; local-network-access";

export function declaredIn(parameter: string | undefined): Declared {
  const found = decodeObject(parameter) ?? {};
  return { inputs: pipesOf(found.inputs), outputs: pipesOf(found.outputs) };
}

function pipesOf(value: unknown): Pipes {
  if (!isObject(value)) return {};
  return Object.fromEntries(Object.entries(value).map(([name, pipe]) => {
    const type = isObject(pipe) && typeof pipe.type === "string" ? pipe.type : "";
    return [name, type ? { type } : {}];
  }));
}

/** The parameter; `undefined` when nothing is declared. What else stood in it stays. */
export function declaring(declared: Declared, before: string | undefined): string | undefined {
  if (!Object.keys(declared.inputs).length && !Object.keys(declared.outputs).length) return undefined;
  const kept = decodeObject(before) ?? {};
  return encodeJson({ allow: ALLOW, hashParams: [...SYSTEM_NAMES], ...kept, version: "2", ...declared });
}

/** Names that exist and are not declared. */
export function undeclared(names: Iterable<string>, pipes: Pipes): string[] {
  return [...names].filter((name) => !(name in pipes));
}
