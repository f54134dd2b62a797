/** Changes of the definition, each written to the address at once. */

import { computed } from "@preact/signals";
import { filesOf, hash, place, setParameters } from "./address";
import { hasBuild, type Build, type Definition } from "./definition";
import { decodeObject, encodeJson } from "./hash";
import { definition, named } from "./store";

/** The definition as it is edited: without what the link's own parameters and files add. */
export const draft = computed<Definition>(() => {
  if (place.value.kind === "job") return named.value ?? {};
  return (decodeObject(hash.value.params.get("job")) as Definition | undefined) ?? {};
});

/** Where the program finds its inputs: a process has no `/inputs` of its own. */
export const inputsFolder = computed(() => (definition.value && !definition.value.image && !hasBuild(definition.value) ? "$JOB_INPUTS" : "/inputs"));

export const files = computed(() => filesOf(hash.value));

/** Empty values leave the definition: they would count for the job's id. */
export function change(changes: Partial<Definition>): void {
  const next: Definition = { ...draft.value };
  for (const [name, value] of Object.entries(changes)) {
    if (isEmpty(value)) delete next[name];
    else next[name] = value;
  }
  setParameters({ job: Object.keys(next).length ? encodeJson(next) : undefined });
}

export function changeBuild(changes: Partial<Build>): void {
  change({ build: without({ ...draft.value.build, ...changes }) });
}

export function changeNeeds(changes: NonNullable<Definition["requirements"]>): void {
  change({ requirements: without({ ...draft.value.requirements, ...changes }) });
}

/** What is submitted beside the definition: it does not count for the job's id. */
export function changeControl(changes: Record<string, unknown>): void {
  const next = without({ ...decodeObject(hash.value.params.get("control")), ...changes });
  setParameters({ control: Object.keys(next).length ? encodeJson(next) : undefined });
}

/** As it stands in the address; `store.ts` has the one that is submitted. */
export const ownNamespace = computed(() => {
  const name = decodeObject(hash.value.params.get("control"))?.namespace;
  return typeof name === "string" ? name : "";
});

const SECRET = /pass(word|wd|phrase)|secret|token|api_?key|private_?key|access_?key|credential/i;

/** By its name: values that are meant for nobody else. */
export function looksSecret(name: string): boolean {
  return SECRET.test(name);
}

function without<T extends object>(members: T): T {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => !isEmpty(value))) as T;
}

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === "") return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

export function changeFiles(next: Record<string, string>): void {
  const isNone = Object.keys(next).length === 0;
  setParameters({ inputs: isNone ? undefined : encodeJson(next) }, draft.value);
}

/** False: there is one of that name, and nothing was done. */
export function renameInput(from: string, to: string): boolean {
  const inputs = draft.value.inputs ?? {};
  if (to in inputs || !(from in inputs)) return false;
  change({ inputs: Object.fromEntries(Object.entries(inputs).map(([name, it]) => [name === from ? to : name, it])) });
  return true;
}

export function setFile(name: string, text: string): void {
  changeFiles({ ...files.value, [name]: text });
}

export function renameFile(from: string, to: string): void {
  changeFiles(Object.fromEntries(Object.entries(files.value).map(([name, text]) => [name === from ? to : name, text])));
}

export function removeFile(name: string): void {
  const { [name]: _, ...rest } = files.value;
  changeFiles(rest);
}
