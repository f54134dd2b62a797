/** What runs: image or build, command, files, inputs, environment, resources. */

import { useSignal } from "@preact/signals";
import { flag, place, setFlag } from "../address";
import { hasBuild } from "../definition";
import { change, changeBuild, changeNeeds, draft } from "../edit";
import { definition, isReadOnly, isStale, named, prepared, run } from "../store";
import { userParameters } from "../hash";
import { hash } from "../address";
import { differences, OWN_MACHINE, sentence } from "../words";
import { Files } from "./files";
import { Inputs } from "./inputs";
import { Code } from "./code";
import { Field, Text } from "./parts";

export function What() {
  if (place.value.kind === "job" && named.value === null) {
    return <section class="left empty" aria-label="What runs"><p>Nobody on this grid knows this job. It may have been on another grid, or the time for which it was kept is over.</p></section>;
  }
  const { where, what } = sentence(definition.value);
  return (
    <section class="left" aria-label="What runs">
      <p class="sentence">{what ? <><code>{what}</code> runs {where === OWN_MACHINE ? "on" : "in"} <b>{where}</b></> : where ? <><b>{where}</b> runs its own command</> : "Say what to run: an image and a command, or a command alone."}</p>
      <Changes />
      <fieldset disabled={isReadOnly.value}>
        {isReadOnly.value && <p class="quiet">This link shows a job and names no queue, so it can be read and not run.</p>}
        <Where />
        <Field label="Command" hint={hasBuild(draft.value) || draft.value.image ? "Empty: the image's own." : undefined}>
          <textarea
            class="code" rows={2} spellcheck={false} value={draft.value.command ?? ""} placeholder="python3 /inputs/run.py"
            onInput={(event) => change({ command: event.currentTarget.value })}
          />
        </Field>
        <Files />
        <Inputs />
        <Environment />
        <Resources />
        <More />
      </fieldset>
    </section>
  );
}

function Changes() {
  if (!isStale.value || !run.value?.definition || !prepared.value) return null;
  const found = differences(prepared.value.definition, run.value.definition);
  if (!found.length) return null;
  return <p class="changes"><b>Changed since the last run:</b> {found.join(", ")}</p>;
}

type Kind = "image" | "build" | "process";

function Where() {
  const kind: Kind = hasBuild(draft.value) ? "build" : draft.value.image ? "image" : "process";
  const chosen = useSignal<Kind | undefined>(undefined);
  // What was written wins over what was chosen: another definition may have arrived meanwhile.
  const shown = kind !== "process" ? kind : (chosen.value ?? (draft.value.command ? "process" : "image"));
  const choose = (next: Kind) => {
    chosen.value = next;
    if (next === "process") change({ image: undefined, build: undefined });
    if (next === "image") change({ build: undefined });
    if (next === "build") change({ build: { dockerfile: draft.value.build?.dockerfile ?? `FROM ${draft.value.image || "python:3.12-slim"}\n` } });
  };
  return (
    <div class="where">
      <div class="choice" role="radiogroup" aria-label="Where it runs">
        {(["image", "build", "process"] as const).map((it) => (
          <button key={it} type="button" role="radio" aria-checked={shown === it} onClick={() => choose(it)}>
            {{ image: "Image", build: "Build an image", process: "No container" }[it]}
          </button>
        ))}
      </div>
      {shown === "image" && <Field label="Image"><Text value={draft.value.image} placeholder="python:3.12-slim" onText={(image) => change({ image: image.trim() })} /></Field>}
      {shown === "process" && <p class="quiet">The command runs as a process on the worker's own machine. Only workers whose owner allows it take such jobs.</p>}
      {shown === "build" && <BuildFields />}
    </div>
  );
}

function BuildFields() {
  const build = draft.value.build ?? {};
  return (
    <>
      <div class="field">
        <span>Dockerfile</span>
        <Code name="Dockerfile" label="Dockerfile" text={build.dockerfile ?? ""} onText={(dockerfile) => changeBuild({ dockerfile })} />
        <small>Empty: the one of the repository.</small>
      </div>
      <Field label="Repository or archive"><Text value={build.context} placeholder="https://github.com/owner/name/tree/main" onText={(context) => changeBuild({ context })} /></Field>
      <details open={Boolean(build.buildContext || build.filename || build.target || build.platform || build.buildArgs)}>
        <summary>More about the build</summary>
        <div class="grid">
          <Field label="Folder in it"><Text value={build.buildContext} onText={(buildContext) => changeBuild({ buildContext })} /></Field>
          <Field label="Name of the Dockerfile"><Text value={build.filename} placeholder="Dockerfile" onText={(filename) => changeBuild({ filename })} /></Field>
          <Field label="Stage"><Text value={build.target} onText={(target) => changeBuild({ target })} /></Field>
          <Field label="Platform"><Text value={build.platform} placeholder="linux/amd64" onText={(platform) => changeBuild({ platform })} /></Field>
        </div>
        <Field label="Build arguments" hint="One NAME=value a line.">
          <textarea class="code" rows={2} spellcheck={false} value={(build.buildArgs ?? []).join("\n")} onInput={(event) => changeBuild({ buildArgs: event.currentTarget.value.split("\n").filter(Boolean) })} />
        </Field>
      </details>
    </>
  );
}

function Environment() {
  const env = Object.entries(draft.value.env ?? {});
  const fromLink = Object.entries(userParameters(hash.value));
  const set = (rows: [string, string][]) => change({ env: Object.fromEntries(rows) });
  return (
    <details open={env.length + fromLink.length > 0}>
      <summary>Environment <span class="count">{env.length + fromLink.length || ""}</span></summary>
      {env.map(([name, value], at) => (
        <div class="pair" key={at}>
          <Text label="Name of the variable" value={name} onText={(next) => set(env.map((row, i) => (i === at ? [next.trim(), value] : row)))} />
          <Text label={`Value of ${name}`} value={String(value)} onText={(next) => set(env.map((row, i) => (i === at ? [name, next] : row)))} />
          <button type="button" class="small" aria-label={`Remove ${name}`} onClick={() => set(env.filter((_, i) => i !== at))}>×</button>
        </div>
      ))}
      {fromLink.map(([name, value]) => (
        <div class="pair fixed" key={name}><code>{name}</code><code>{value}</code><small>from the link</small></div>
      ))}
      <button type="button" class="small" onClick={() => set([...env, [`NAME${env.length || ""}`, ""]])}>Add a variable</button>
      <p class="quiet">Variables stand in the link and in the job: keep passwords out of them.</p>
    </details>
  );
}

function Resources() {
  const { requirements = {}, maxDuration, tags } = draft.value;
  const number = (text: string) => (text.trim() && Number.isFinite(Number(text)) ? Number(text) : undefined);
  return (
    <details open={Object.keys(requirements).length > 0 || Boolean(maxDuration)}>
      <summary>Resources</summary>
      <div class="grid">
        <Field label="Cpus"><Text mode="numeric" value={requirements.cpus?.toString()} placeholder="1" onText={(text) => changeNeeds({ cpus: number(text) })} /></Field>
        <Field label="Gpus"><Text mode="numeric" value={requirements.gpus?.toString()} placeholder="0" onText={(text) => changeNeeds({ gpus: number(text) })} /></Field>
        <Field label="Memory"><Text value={requirements.memory} placeholder="2g" onText={(memory) => changeNeeds({ memory })} /></Field>
        <Field label="Time limit"><Text value={maxDuration} placeholder="10m" onText={(text) => change({ maxDuration: text.trim() })} /></Field>
        <Field label="Worker tags"><Text value={(tags ?? []).join(" ")} placeholder="such as a100" onText={(text) => change({ tags: text.split(/[\s,]+/).filter(Boolean) })} /></Field>
      </div>
    </details>
  );
}

function More() {
  const { entrypoint, workdir, shmSize } = draft.value;
  const flags: [string, string][] = [
    ["autostart", "Run by itself when the job changes"],
    ["resolverefs", "Give the page around this one the files' contents, not references"],
    ["allowsetjob", "Let the page around this one set the job"],
    ["debug", "Mark the job as one to debug"],
  ];
  return (
    <details open={Boolean(entrypoint || workdir || shmSize)}>
      <summary>More</summary>
      <div class="grid">
        <Field label="Entrypoint"><Text value={entrypoint} onText={(text) => change({ entrypoint: text })} /></Field>
        <Field label="Working directory"><Text value={workdir} onText={(text) => change({ workdir: text })} /></Field>
        <Field label="Shared memory"><Text value={shmSize} placeholder="64m" onText={(text) => change({ shmSize: text })} /></Field>
      </div>
      {flags.map(([name, label]) => (
        <label class="check" key={name}><input type="checkbox" checked={flag(name)} onChange={(event) => setFlag(name, event.currentTarget.checked)} /> {label}</label>
      ))}
    </details>
  );
}
