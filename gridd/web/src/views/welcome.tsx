/** What an empty page says: three steps, and an example that takes the first one. */

import { queue, setParameters } from "../address";
import { encodeJson } from "../hash";
import { definition, isGuarded } from "../store";
import { sentence } from "../words";

const SCRIPT = `import os, pathlib
out = pathlib.Path(os.environ["JOB_OUTPUTS"])

print("estimating pi")
inside = 0
N = 200_000
x = 1
for i in range(N):
    x = (x * 1103515245 + 12345) % 2**31
    a = x / 2**31
    x = (x * 1103515245 + 12345) % 2**31
    b = x / 2**31
    inside += a * a + b * b < 1
pi = 4 * inside / N
print(f"pi is about {pi}")
(out / "pi.json").write_text(f'{{"pi": {pi}, "samples": {N}}}')
`;

export function Welcome() {
  const example = () => {
    // A grid on this very machine has a worker, and perhaps no containers.
    const command = "sh -c 'python3 $JOB_INPUTS/pi.py'";
    const job = isGuarded ? { command } : { image: "python:3.12-slim", command };
    setParameters({ job: encodeJson(job), inputs: encodeJson({ "pi.py": SCRIPT }) });
  };
  const what = sentence(definition.value).what;
  return (
    <div class="welcome">
      <h1>Run a program on the grid</h1>
      <ol>
        <li>
          <b>Say what runs</b>: a container image and a command, with files if it needs some.
          {what ? <span> Here, <code>{what}</code>.</span> : null}
          <button type="button" class="small" onClick={example}>Fill in an example</button>
        </li>
        <li>
          <b>Choose a queue</b>: whoever knows its name can submit to it and work on it.
          {queue.value ? <span> This page uses <code>{queue.value.key}</code>.</span> : <NewQueue />}
        </li>
        <li><b>Run it.</b> Its log, its result and its files appear here, live. The address of this page is the job: keep it, or share it.</li>
      </ol>
      <p class="quiet">The same works from a terminal and from programs: <a href="/docs/">how to use this grid</a>. In a page of your own: <a href="/embed/">how to embed a job</a>.</p>
    </div>
  );
}

/** For those who have none yet. */
export function NewQueue() {
  const use = () => setParameters({ queue: isGuarded ? "local" : newName() });
  return <button type="button" class="small" onClick={use}>{isGuarded ? "Use the queue of this machine" : "Make a new one"}</button>;
}

/** 80 random bits: a name that nobody guesses. */
function newName(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(10));
  return `q-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
