/** Settings of a job, and of how the page treats it. */

import { flag, hash, setFlag, setParameters } from "../address";
import { notADuration, notANumber, notASize } from "../checks";
import { change, changeControl, changeNeeds, draft, looksSecret } from "../edit";
import { decodeObject, userParameters } from "../hash";
import { Mark } from "./changes";
import { Field, Text } from "./parts";
import { Renamed } from "./renamed";

/** Who writes `NAME=value` for a name means both. */
function cut(text: string): [name: string, value?: string] {
  const at = text.indexOf("=");
  return at < 0 ? [text] : [text.slice(0, at).trim(), text.slice(at + 1)];
}

export function Environment() {
  const env = draft.value.env ?? {};
  const rows = Object.entries(env);
  const fromLink = Object.entries(userParameters(hash.value));
  const set = (next: [string, string][]) => change({ env: Object.fromEntries(next) });
  const secrets = [...rows, ...fromLink].filter(([name, value]) => value && looksSecret(name)).map(([name]) => name);
  const add = () => {
    let name = "NAME";
    for (let n = 2; name in env; n++) name = `NAME${n}`;
    set([...rows, [name, ""]]);
  };
  return (
    <details open={rows.length + fromLink.length > 0}>
      <summary>Environment <span class="count">{rows.length + fromLink.length || ""}</span><Mark of={["env"]} /></summary>
      {rows.map(([name, value], at) => (
        <div class="pair" key={at}>
          <Renamed label="Name of the variable" name={name} isTaken={(next) => cut(next)[0] !== name && (!cut(next)[0] || cut(next)[0] in env)} onName={(next) => set(rows.map((row, i) => (i === at ? [cut(next)[0], cut(next)[1] ?? value] : row)))} />
          <Text label={`Value of ${name}`} value={String(value)} onText={(next) => set(rows.map((row, i) => (i === at ? [name, next] : row)))} />
          <button type="button" class="small" aria-label={`Remove ${name}`} onClick={() => set(rows.filter((_, i) => i !== at))}>×</button>
        </div>
      ))}
      {fromLink.map(([name, value]) => (
        <div class="pair fixed" key={name}>
          <code>{name}</code><code>{value}</code>
          <span><small>from the link</small> <button type="button" class="small" aria-label={`Remove ${name} from the link`} onClick={() => setParameters({ [name]: undefined })}>×</button></span>
        </div>
      ))}
      <button type="button" class="small" onClick={add}>Add a variable</button>
      {secrets.length > 0
        ? <p class="warned" role="alert"><b>{secrets.join(", ")}</b> {secrets.length > 1 ? "look like secrets" : "looks like a secret"}. Whoever has this link, or knows the queue, reads {secrets.length > 1 ? "them" : "it"}, and the job keeps {secrets.length > 1 ? "them" : "it"}.</p>
        : <p class="quiet">Variables stand in the link and in the job: keep passwords out of them.</p>}
    </details>
  );
}

export function Resources() {
  const { requirements = {}, maxDuration, tags } = draft.value;
  const number = (text: string) => (text.trim() && Number.isFinite(Number(text)) ? Number(text) : undefined);
  return (
    <details open={Object.keys(requirements).length > 0 || Boolean(maxDuration) || Boolean(tags?.length)}>
      <summary>Resources<Mark of={["requirements", "maxDuration", "tags"]} /></summary>
      <div class="grid">
        <Field label="Cpus"><Text mode="decimal" check={notANumber} value={requirements.cpus?.toString()} placeholder="1" onText={(text) => changeNeeds({ cpus: number(text) })} /></Field>
        <Field label="Gpus"><Text mode="numeric" check={notANumber} value={requirements.gpus?.toString()} placeholder="0" onText={(text) => changeNeeds({ gpus: number(text) })} /></Field>
        <Field label="Memory"><Text check={notASize} value={requirements.memory?.toString()} placeholder="2g" onText={(memory) => changeNeeds({ memory })} /></Field>
        <Field label="Time limit"><Text check={notADuration} value={maxDuration?.toString()} placeholder="10m" onText={(text) => change({ maxDuration: text.trim() })} /></Field>
        {requirements.maxDuration !== undefined && <Field label="Time that its worker must allow"><Text check={notADuration} value={requirements.maxDuration?.toString()} placeholder="10m" onText={(text) => changeNeeds({ maxDuration: text.trim() })} /></Field>}
        <Field label="Worker tags"><Text value={(tags ?? []).join(" ")} placeholder="such as a100" onText={(text) => change({ tags: text.split(/[\s,]+/).filter(Boolean) })} /></Field>
      </div>
    </details>
  );
}

export function More() {
  const { entrypoint, workdir, shmSize } = draft.value;
  const control = decodeObject(hash.value.params.get("control")) ?? {};
  const namespace = typeof control.namespace === "string" ? control.namespace : "";
  const flags: [string, string][] = [
    ["autostart", "Run by itself when the job changes"],
    ["resolverefs", "Give the page around this one the files' contents, not references"],
    ["allowsetjob", "Let the page around this one set the job"],
    ["debug", "Mark the job as one to debug"],
  ];
  return (
    <details open={Boolean(entrypoint || workdir || shmSize || namespace)}>
      <summary>More<Mark of={["entrypoint", "workdir", "shmSize"]} /></summary>
      <div class="grid">
        <Field label="Entrypoint"><Text value={entrypoint} onText={(text) => change({ entrypoint: text })} /></Field>
        <Field label="Working directory"><Text value={workdir} onText={(text) => change({ workdir: text })} /></Field>
        <Field label="Shared memory"><Text check={notASize} value={shmSize?.toString()} placeholder="64m" onText={(text) => change({ shmSize: text })} /></Field>
      </div>
      <Field label="Namespace" hint="Of one namespace, a new job ends the one that still runs. Empty: each goes on.">
        <Text value={namespace} placeholder="such as my-plot" onText={(text) => changeControl({ namespace: text.trim() })} />
      </Field>
      {flags.map(([name, label]) => (
        <label class="check" key={name}><input type="checkbox" checked={flag(name)} onChange={(event) => setFlag(name, event.currentTarget.checked)} /> {label}</label>
      ))}
    </details>
  );
}
