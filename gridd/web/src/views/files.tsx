/** Files that are written on the page, as tabs with an editor. They stand in the link. */

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { textOf } from "../partial";
import type { Reference } from "../dataref";
import { changeFiles, files, inputsFolder, removeFile, renameFile, setFile } from "../edit";
import { Code } from "./code";
import { definition, isReadOnly } from "../store";
import { Mark } from "./changes";

export function Files() {
  const open = useSignal("");
  const isNaming = useSignal(false);
  // Of a job that is shown by its link alone, the files are in its definition.
  const fixed = Object.entries(definition.value?.configFiles ?? {}).filter(([name]) => !(name in files.value));
  const names = Object.keys(files.value);
  const shown = [...names, ...fixed.map(([name]) => name)];
  const current = shown.includes(open.value) ? open.value : shown[0];
  const reference = fixed.find(([name]) => name === current)?.[1];
  const add = () => {
    const base = "run.py";
    let name = base;
    for (let n = 2; name in files.value; n++) name = `run${n}.py`;
    setFile(name, "");
    open.value = name;
    isNaming.value = true;
  };
  return (
    <div class="files">
      <div class="filetabs" role="group" aria-label="Files">
        {shown.map((name) => (
          <button key={name} type="button" class="file" aria-pressed={name === current} onClick={() => { open.value = name; isNaming.value = false; }}>{name}<Mark of={["configFiles"]} name={name} /></button>
        ))}
        {!isReadOnly.value && <button type="button" class="small" onClick={add}>{shown.length ? "+ File" : "+ Add a file or script"}</button>}
      </div>
      {current !== undefined && reference === undefined && (
        <>
          {isNaming.value
            ? <Naming name={current} done={(name) => { isNaming.value = false; if (name && name !== current && !(name in files.value)) { renameFile(current, name); open.value = name; } }} />
            : (
              <p class="fileline">
                <span>{current.startsWith("/") ? current : `${inputsFolder.value}/${current}`}</span>
                <button type="button" class="small" onClick={() => void (isNaming.value = true)}>Rename</button>
                <button type="button" class="small" onClick={() => removeFile(current)}>Remove</button>
              </p>
            )}
          <Code key={current} name={current} label={`Contents of ${current}`} text={files.value[current] ?? ""} onText={(text) => setFile(current, text)} />
        </>
      )}
      {reference && <FixedFile key={JSON.stringify(reference)} reference={reference} />}
      {reference && !isReadOnly.value && <EditThese fixed={fixed} />}
    </div>
  );
}

function Naming({ name, done }: { name: string; done: (name: string) => void }) {
  const text = useSignal(name);
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    input.current?.focus();
    input.current?.select();
  }, []);
  return (
    <form class="fileline" onSubmit={(event) => { event.preventDefault(); done(text.value.trim()); }}>
      <input aria-label="Name of the file" value={text.value} ref={input} onInput={(event) => void (text.value = event.currentTarget.value)} onBlur={() => done(text.value.trim())} spellcheck={false} />
      <button type="submit" class="small">OK</button>
    </form>
  );
}

/** Of a job that was opened by its link: files beyond a few letters lie on the grid. */
function FixedFile({ reference }: { reference: Reference }) {
  const text = useSignal<string | undefined>(undefined);
  const failed = useSignal("");
  useEffect(() => void textOf(reference).then((it) => void (text.value = it), (error: Error) => void (failed.value = error.message)), []);
  const where = reference.type === "url" ? ` It lies at ${String(reference.value)}` : "";
  return <pre class="fixedfile" tabIndex={0}>{text.value ?? (failed.value ? `It can't be shown here: ${failed.value}.${where}` : "Loading…")}</pre>;
}

/** All of them or none: files on the page stand in the place of the definition's. */
function EditThese({ fixed }: { fixed: [string, Reference][] }) {
  const problem = useSignal("");
  const edit = async () => {
    const texts: Record<string, string> = {};
    for (const [name, reference] of fixed) {
      try {
        texts[name] = await textOf(reference);
      } catch (error) {
        problem.value = `They can't be edited here, because of ${name}: ${(error as Error).message}.`;
        return;
      }
    }
    changeFiles({ ...texts, ...files.value });
  };
  return <><button type="button" class="small" onClick={() => void edit()}>Edit these files</button> <small role="status">{problem.value}</small></>;
}
