/** What to do about a queue that nobody works on. */

import { quoted } from "../shell";
import { api } from "../store";
import { Command } from "./parts";

function workerCommand(): string {
  const { base, queue: key } = api.value;
  return `gridd-worker run --api-address ${quoted(base)} ${quoted(key ?? "QUEUE")}`;
}

export function NoWorker() {
  return (
    <div class="card">
      <h2>No worker is connected to this queue</h2>
      <p>Jobs wait until one is. Start one on any machine that reaches this grid:</p>
      <Command text={workerCommand()} />
      <p class="quiet">It needs Python with <code>gridd</code> installed, and Docker for jobs that name an image.</p>
    </div>
  );
}
