/** Which inputs and outputs the page around this frame is told to connect. */

import { hash, setParameters } from "../address";
import { declaredIn, declaring, undeclared, type Declared, type Pipes as PipesOf } from "../forhosts";
import { files } from "../edit";
import { given, prepared, run } from "../store";
import { Renamed } from "./renamed";
import { Text } from "./parts";

export function Pipes() {
  const parameter = hash.value.params.get("definition");
  const declared = declaredIn(parameter);
  const set = (changes: Partial<Declared>) => setParameters({ definition: declaring({ ...declared, ...changes }, parameter) });
  const made = Object.keys(run.value?.job.value?.finished?.result?.outputs ?? {});
  const taken = [...Object.keys(prepared.value?.definition.inputs ?? {}), ...Object.keys(given.value)].map((name) => name.replace(/^\//, ""));
  return (
    <>
      <p class="quiet">A page that holds this job as a frame offers these names to connect. The job runs the same with or without them.</p>
      <Side what="input" pipes={declared.inputs} known={[...new Set([...taken.filter((name) => name !== "job"), ...Object.keys(files.value)])]} set={(inputs) => set({ inputs })} />
      <Side what="output" pipes={declared.outputs} known={made} set={(outputs) => set({ outputs })} />
    </>
  );
}

function Side({ what, pipes, known, set }: { what: "input" | "output"; pipes: PipesOf; known: string[]; set: (pipes: PipesOf) => void }) {
  const rows = Object.entries(pipes);
  const missing = undeclared(known, pipes).slice(0, 50);
  const put = (at: number, name: string, pipe: PipesOf[string]) => set(Object.fromEntries(rows.map((row, i) => (i === at ? [name, pipe] : row))));
  const fresh = () => {
    let name = `${what}.txt`;
    for (let n = 2; name in pipes; n++) name = `${what}${n}.txt`;
    set({ ...pipes, [name]: {} });
  };
  return (
    <div class="side">
      <h3>{what === "input" ? "Inputs" : "Outputs"}</h3>
      {rows.map(([name, pipe], at) => (
        <div class="pair" key={name}>
          <Renamed label={`Name of the ${what}`} name={name} isTaken={(next) => next in pipes} onName={(next) => put(at, next, pipe)} />
          <Text label={`Type of ${name}`} value={pipe.type} placeholder="any type, such as text/csv" onText={(type) => put(at, name, type.trim() ? { type: type.trim() } : {})} />
          <button type="button" class="small" aria-label={`Remove the ${what} ${name}`} onClick={() => set(Object.fromEntries(rows.filter((_, i) => i !== at)))}>×</button>
        </div>
      ))}
      <button type="button" class="small" onClick={fresh}>Declare an {what}</button>
      {missing.length > 0 && (
        <button type="button" class="small" title={missing.join("\n")} onClick={() => set({ ...pipes, ...Object.fromEntries(missing.map((name) => [name, {}])) })}>
          {what === "output" ? `Take those of the last run (${missing.length})` : `Take those it has (${missing.length})`}
        </button>
      )}
    </div>
  );
}
