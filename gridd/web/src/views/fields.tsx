/** The settings that most jobs do not need: what it asks for, and how the page treats it. */

import { flag, setFlag } from "../address";
import { notADuration, notANumber, notASize } from "../checks";
import { change, changeControl, changeNeeds, draft, ownNamespace } from "../edit";
import { Field, Text } from "./parts";

export function ResourceFields() {
  const { requirements = {}, maxDuration, tags } = draft.value;
  const number = (text: string) => (text.trim() && Number.isFinite(Number(text)) ? Number(text) : undefined);
  return (
    <div class="grid">
      <Field label="Cpus"><Text mode="decimal" check={notANumber} value={requirements.cpus?.toString()} placeholder="1" onText={(text) => changeNeeds({ cpus: number(text) })} /></Field>
      <Field label="Gpus"><Text mode="numeric" check={notANumber} value={requirements.gpus?.toString()} placeholder="0" onText={(text) => changeNeeds({ gpus: number(text) })} /></Field>
      <Field label="Memory"><Text check={notASize} value={requirements.memory?.toString()} placeholder="2g" onText={(memory) => changeNeeds({ memory })} /></Field>
      <Field label="Time limit"><Text check={notADuration} value={maxDuration?.toString()} placeholder="10m" onText={(text) => change({ maxDuration: text.trim() })} /></Field>
      {requirements.maxDuration !== undefined && <Field label="Time that its worker must allow"><Text check={notADuration} value={requirements.maxDuration?.toString()} placeholder="10m" onText={(text) => changeNeeds({ maxDuration: text.trim() })} /></Field>}
      <Field label="Worker tags"><Text value={(tags ?? []).join(" ")} placeholder="such as a100" onText={(text) => change({ tags: text.split(/[\s,]+/).filter(Boolean) })} /></Field>
    </div>
  );
}

export function MoreFields() {
  const { entrypoint, workdir, shmSize } = draft.value;
  const flags: [string, string][] = [
    ["autostart", "Run by itself when the job changes"],
    ["resolverefs", "Give the page around this one the files' contents, not references"],
    ["allowsetjob", "Let the page around this one set the job"],
    ["debug", "Mark the job as one to debug"],
  ];
  return (
    <>
      <div class="grid">
        <Field label="Entrypoint"><Text value={entrypoint} onText={(text) => change({ entrypoint: text })} /></Field>
        <Field label="Working directory"><Text value={workdir} onText={(text) => change({ workdir: text })} /></Field>
        <Field label="Shared memory"><Text check={notASize} value={shmSize?.toString()} placeholder="64m" onText={(text) => change({ shmSize: text })} /></Field>
      </div>
      <Field label="Namespace" hint="Of one namespace, a new job ends the one that still runs. Empty: each goes on.">
        <Text value={ownNamespace.value} placeholder="such as my-plot" onText={(text) => changeControl({ namespace: text.trim() })} />
      </Field>
      {flags.map(([name, label]) => (
        <label class="check" key={name}><input type="checkbox" checked={flag(name)} onChange={(event) => setFlag(name, event.currentTarget.checked)} /> {label}</label>
      ))}
    </>
  );
}
