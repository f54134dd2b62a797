/** Ways to pass this job on. */

import { hash, place, queue } from "../address";
import { api, definition, prepared, run } from "../store";
import { encodeJson, formatHash } from "../hash";
import { commandLine, frameSnippet, python, scriptTag } from "../share";
import { CopyButton } from "./parts";

/** Holds the whole job, so that it opens on a grid that has never seen it. */
function fullLink(): string {
  const params = new Map(hash.value.params);
  if (place.value.kind === "job" && definition.value) params.set("job", encodeJson(definition.value));
  return `${location.origin}/${formatHash({ before: "", params })}`;
}

function shortLink(id: string): string {
  return `${location.origin}/j/${id}${queue.value ? `#?queue=${queue.value.name}` : ""}`;
}

export function Ways() {
  const what = prepared.value;
  if (!what) return null;
  const isKnown = run.value?.id === what.id;
  const id = run.value && isKnown ? run.value.id : what.id;
  const rows: [string, string, () => string][] = [
    ["Link", "the whole job; works before it ever ran", fullLink],
    ["Frame", "to put this into a page of yours", () => frameSnippet(fullLink())],
    ["Script tag", "the same, with inputs and outputs for your scripts", () => scriptTag(location.origin, fullLink())],
  ];
  if (isKnown) {
    rows.splice(1, 0, ["Short link", "this job and its result, with the queue", () => shortLink(id)]);
    if (queue.value) rows.splice(2, 0, ["Short link to read", "the same, without telling the queue", () => `${location.origin}/j/${id}`]);
  }
  if (queue.value) {
    rows.push(["Command line", "needs gridd installed", () => commandLine(what.definition, api.value.base, queue.value!.key, fullLink())]);
    rows.push(["Python", "needs gridd installed", () => python(what.definition, api.value.queueUrl)]);
  }
  return (
    <>
      <ul class="share">
        {rows.map(([name, about, text]) => (
          <li key={name}><span><b>{name}</b><small>{about}</small></span><CopyButton text={text} /></li>
        ))}
      </ul>
      <p class="quiet">More on putting it into a page: <a href="/embed/" target="_blank">/embed/</a>.</p>
      {queue.value && <p class="quiet">Links with the queue let others submit to it: its name is its only key.</p>}
    </>
  );
}
