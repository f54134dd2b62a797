/** Settings of a job, and of how the page treats it. */

import { hash, setParameters } from "../address";
import { change, draft, looksSecret, ownNamespace } from "../edit";
import { declaredIn } from "../forhosts";
import { userParameters } from "../hash";
import { Mark } from "./changes";
import { Group } from "./group";
import { later } from "./later";
import { Text } from "./parts";
import { Renamed } from "./renamed";

const ResourceFields = later(() => import("./fields").then((it) => it.ResourceFields), true);
const MoreFields = later(() => import("./fields").then((it) => it.MoreFields), true);
const Pipes = later(() => import("./pipes").then((it) => it.Pipes), true);

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
    <Group isUsed={rows.length + fromLink.length > 0} summary={<>Environment <span class="count">{rows.length + fromLink.length || ""}</span><Mark of={["env"]} /></>}>
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
    </Group>
  );
}

export function Resources() {
  const { requirements = {}, maxDuration, tags } = draft.value;
  const isUsed = Object.keys(requirements).length > 0 || Boolean(maxDuration) || Boolean(tags?.length);
  return <Group isUsed={isUsed} summary={<>Resources<Mark of={["requirements", "maxDuration", "tags"]} /></>}><ResourceFields /></Group>;
}

export function DeclaredPipes() {
  const { inputs, outputs } = declaredIn(hash.value.params.get("definition"));
  const count = Object.keys(inputs).length + Object.keys(outputs).length;
  return <Group isUsed={count > 0} summary={<>Declared inputs and outputs <span class="count">{count || ""}</span></>}><Pipes /></Group>;
}

export function More() {
  const { entrypoint, workdir, shmSize } = draft.value;
  const isUsed = Boolean(entrypoint || workdir || shmSize || ownNamespace.value);
  return <Group isUsed={isUsed} summary={<>More<Mark of={["entrypoint", "workdir", "shmSize"]} /></>}><MoreFields /></Group>;
}
