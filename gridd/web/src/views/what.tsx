/** What runs: image or build, command, files, inputs, environment, resources. */

import { useSignal } from "@preact/signals";
import { place } from "../address";
import { notAnImage } from "../checks";
import { hasBuild } from "../definition";
import { change, changeBuild, draft } from "../edit";
import { definition, isReadOnly, named } from "../store";
import { OWN_MACHINE, sentence } from "../words";
import { Changes, Mark } from "./changes";
import { Files } from "./files";
import { Inputs } from "./inputs";
import { Code } from "./code";
import { Field, Text } from "./parts";
import { DeclaredPipes, Environment, More, Resources } from "./settings";

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
        <Field label="Command" mark={<Mark of={["command"]} />} hint={hasBuild(draft.value) || draft.value.image ? "Empty: the image's own." : undefined}>
          <textarea
            class="code" rows={2} spellcheck={false} value={draft.value.command ?? ""} placeholder="python3 /inputs/run.py"
            onInput={(event) => change({ command: event.currentTarget.value })}
          />
        </Field>
        <Files />
        <Inputs />
        <Environment />
        <Resources />
        <DeclaredPipes />
        <More />
      </fieldset>
    </section>
  );
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
      {shown === "image" && <Field label="Image" mark={<Mark of={["image"]} />}><Text value={draft.value.image} check={notAnImage} placeholder="python:3.12-slim" onText={(image) => change({ image: image.trim() })} /></Field>}
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
        <span>Dockerfile<Mark of={["build"]} name="dockerfile" /></span>
        <Code name="Dockerfile" label="Dockerfile" text={build.dockerfile ?? ""} onText={(dockerfile) => changeBuild({ dockerfile })} />
        <small>Empty: the one of the repository.</small>
      </div>
      <Field label="Repository or archive" mark={<Mark of={["build"]} name="context" />}><Text value={build.context} placeholder="https://github.com/owner/name/tree/main" onText={(context) => changeBuild({ context })} /></Field>
      <details open={Boolean(build.buildContext || build.filename || build.target || build.platform || build.buildArgs)}>
        <summary>More about the build<Mark of={["build"]} /></summary>
        <div class="grid">
          <Field label="Folder in it"><Text value={build.buildContext} onText={(buildContext) => changeBuild({ buildContext })} /></Field>
          <Field label="Name of the Dockerfile"><Text value={build.filename} placeholder="Dockerfile" onText={(filename) => changeBuild({ filename })} /></Field>
          <Field label="Stage"><Text value={build.target} onText={(target) => changeBuild({ target })} /></Field>
          <Field label="Platform"><Text value={build.platform} placeholder="linux/amd64" onText={(platform) => changeBuild({ platform })} /></Field>
        </div>
        <Field label="Build arguments" hint="One NAME=value a line.">
          <Text rows={2} value={(build.buildArgs ?? []).join("\n")} onText={(text) => changeBuild({ buildArgs: text.split("\n").filter(Boolean) })} />
        </Field>
      </details>
    </>
  );
}
