/**
 * What the page knows and does: from its address to a definition, from a definition to a run.
 *
 * One direction: address → definition → prepared (with its id) → the run that is followed. Views
 * read signals and call the verbs at the end.
 */

import { batch, computed, effect, signal, untracked } from "@preact/signals";
import { Api, ApiError, type Job } from "./api";
import { flag, hash, place, queue, setParameters, watchAddress } from "./address";
import { isRunnable, prepare, written, type Definition, type Prepared } from "./definition";
import { Frame } from "./frame";
import { decodeObject, encodeJson, isObject, userParameters } from "./hash";
import { sendOutputs } from "./outputs";
import { remember } from "./remembered";
import { QueueView } from "./queue";
import { Run } from "./run";
import { upload } from "./upload";

const SETTLE_MS = 150; // after a keystroke, before the job is looked up
const AGAIN_MS = 3_000; // a grid that was away is asked for the job of the address again

/** The definition behind `/j/ID`; null: nobody knows it. */
export const named = signal<Definition | null | undefined>(undefined);
export const given = signal<Record<string, unknown>>({});
export const prepared = signal<Prepared | undefined>(undefined);
export const view = signal<QueueView | undefined>(undefined);
export const run = signal<Run | undefined>(undefined);
export const problem = signal("");
export const busy = signal("");
export const now = signal(Date.now());

export const definition = computed<Definition | undefined>(() => {
  if (place.value.kind === "queue") return undefined;
  if (place.value.kind === "job") return named.value ? written(hash.value, named.value) : undefined;
  return written(hash.value);
});

export const api = computed<Api>(() => {
  const chosen = queue.value;
  return chosen ? new Api(chosen.base, chosen.key) : new Api(location.origin);
});

/** Without a queue, a page about a job can only be read. */
export const isReadOnly = computed(() => place.value.kind === "job" && !queue.value);
/** The run that is shown is not of what stands on the left. */
export const isStale = computed(() => Boolean(run.value && prepared.value && run.value.id !== prepared.value.id));
export const isActive = computed(() => {
  const state = run.value && (run.value.job.value?.state ?? "Queued");
  return state === "Queued" || state === "Running";
});

/** This grid runs jobs on the machine of whoever looks at it: links may not start any. */
export const isGuarded = document.documentElement.hasAttribute("data-guarded");
export const isFramed = window.parent !== window;

export const frame = new Frame(window.parent, window.name, (changed) => {
  given.value = { ...frame.inputs };
  const job = frame.inputs.job;
  if (changed.includes("job") && flag("allowsetjob") && isObject(job)) setParameters({ job: encodeJson(job) });
});

export function start(): void {
  watchAddress((text) => isFramed && frame.hashChanged(text));
  if (isFramed) {
    addEventListener("message", (event) => frame.receive(event));
    frame.start();
  }
  effect(readNamed);
  effect(openQueue);
  effect(prepareSoon);
  effect(followPrepared);
  effect(startByItself);
  effect(tellParent);
  effect(() => {
    if (!isActive.value) return undefined;
    const timer = setInterval(() => void (now.value = Date.now()), 1000);
    return () => clearInterval(timer);
  });
}

function readNamed(): (() => void) | undefined {
  const at = place.value;
  if (at.kind !== "job") return undefined;
  const from = new Api(untracked(() => api.value.base));
  let isLeft = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let said = "";
  const read = () => void from.definition(at.id).then(
    (found) => {
      if (isLeft) return;
      named.value = found;
      if (!found || problem.value === said) problem.value = "";
    },
    (error: Error) => {
      if (isLeft) return;
      problem.value = said = error.message;
      if (!(error instanceof ApiError) || error.status === 0 || error.status >= 500) timer = setTimeout(read, AGAIN_MS);
    },
  );
  read();
  return () => {
    isLeft = true;
    clearTimeout(timer);
  };
}

function openQueue(): (() => void) | undefined {
  const from = api.value;
  if (from.queue === undefined) return undefined;
  const opened = new QueueView(from, {
    onJob: (id, job) => untracked(() => {
      const isAnew = run.value?.isOver && job.state !== "Finished";
      if (run.value?.id === id && !isAnew) run.value.update(job);
      // Somebody else, another tab perhaps, has started what stands here.
      else if (prepared.value?.id === id) follow(id, prepared.value.definition, job);
    }),
    onGone: (id, reason) => untracked(() => {
      // What we deleted to run it again is not over.
      if (run.value?.id === id && run.value.job.value) run.value.ended(reason);
    }),
    onLog: (id, step) => untracked(() => {
      if (run.value?.id !== id || !run.value.job.value) return;
      run.value.step.value = step;
      run.value.pokeLogs();
    }),
    onUp: () => untracked(() => {
      problem.value = "";
      if (run.value?.job.value) void run.value.refresh();
      else void lookUp();
    }),
    onRefusal: (message) => void (problem.value = message),
  });
  view.value = opened;
  const renew = () => opened.renew();
  addEventListener("online", renew);
  return () => {
    removeEventListener("online", renew);
    opened.close();
    view.value = undefined;
    untracked(() => show(undefined));
  };
}

/** The job that is named by its link stays what it is, to the letter; any other is assembled. */
async function preparedNow(): Promise<Prepared | undefined> {
  const [what, inputs, from, at, address] = [definition.value, given.value, api.value, place.value, hash.value];
  if (!isRunnable(what)) return undefined;
  const isUntouched = !Object.keys(inputs).length && !address.params.has("inputs") && !Object.keys(userParameters(address)).length;
  if (at.kind === "job" && isUntouched) return { id: at.id, definition: what, uploads: new Map() };
  return prepare(what, inputs, from.base);
}

let unusable = "";

function prepareSoon(): () => void {
  void [definition.value, given.value, api.value, place.value]; // what it depends on
  let isLate = false;
  const timer = setTimeout(async () => {
    try {
      const ready = await preparedNow();
      if (isLate) return;
      if (unusable && problem.value === unusable) problem.value = "";
      prepared.value = ready;
    } catch (error) {
      if (isLate) return;
      prepared.value = undefined;
      problem.value = unusable = `This definition can't be used: ${(error as Error).message}.`;
    }
  }, prepared.peek() ? SETTLE_MS : 0);
  return () => {
    isLate = true; // something changed meanwhile: that attempt is void
    clearTimeout(timer);
  };
}

function followPrepared(): void {
  if (prepared.value && api.value) untracked(() => void lookUp());
}

/** Is there a run of what stands on the left? If so it is followed; if not, the last one stays. */
async function lookUp(): Promise<void> {
  const [wanted, from] = [prepared.value, api.value];
  const at = place.value;
  if (!wanted) return;
  const id = isReadOnly.value && at.kind === "job" ? at.id : wanted.id;
  if (run.value?.id === id && run.value.api === from) return;
  if (!isReadOnly.value && from.queue === undefined) return;
  try {
    const standing = await from.standing(id);
    if (prepared.value !== wanted || api.value !== from || run.value?.id === id) return;
    if (standing.known && standing.job.state !== "Removed") follow(id, wanted.definition, standing.job);
    else if (standing.known === false && standing.gone) problem.value = "This job was run before; the time for which its answer was kept is over.";
  } catch (error) {
    // A grid that is away is asked again when the line is up.
    if (error instanceof ApiError && error.status && prepared.value === wanted) problem.value = error.message;
  }
}

function show(next: Run | undefined): void {
  run.value?.stop();
  run.value = next;
}

function follow(id: string, what: Definition, job?: Job): Run {
  const next = new Run(api.value, id, what, api.value.queue !== undefined);
  batch(() => {
    now.value = Date.now();
    show(next);
    if (job) next.update(job);
  });
  if (!next.isLive) void next.refresh();
  return next;
}

// --- verbs ------------------------------------------------------------------------

export const namespace = computed(() => {
  const control = decodeObject(hash.value.params.get("control"));
  return typeof control?.namespace === "string" && control.namespace ? control.namespace : "_";
});

function submission(of: Prepared): unknown {
  const control = { ...decodeObject(hash.value.params.get("control")), namespace: namespace.value };
  return { id: of.id, definition: of.definition, control, ...(flag("debug") ? { debug: true } : {}) };
}

/** Submit what stands on the left. `again`: also when there is an answer already. */
export async function submit(again = false): Promise<void> {
  const from = api.value;
  if (busy.value || from.queue === undefined) return;
  problem.value = "";
  try {
    busy.value = "Uploading";
    // What stands there now, also when the last keystroke was a moment ago.
    const what = await preparedNow();
    if (!what) return;
    if (what.id !== prepared.value?.id) prepared.value = what;
    startedByItself = what.id;
    await uploadAll(what, from);
    if (api.value !== from) throw new ApiError("Another queue was chosen meanwhile, so nothing was submitted.", 0);
    busy.value = "Sending";
    remember(from.queueUrl, what);
    if (again && run.value?.id === what.id && run.value.isOver) {
      if (!view.value?.again(what.id, submission(what))) throw new ApiError("The grid does not answer. Try again in a moment.", 0);
      follow(what.id, what.definition);
    } else {
      await from.submit(submission(what));
      if (api.value !== from) return;
      follow(what.id, what.definition, view.value?.jobs.get(what.id));
      await run.value?.refresh();
    }
  } catch (error) {
    problem.value = (error as Error).message;
  } finally {
    busy.value = "";
  }
}

async function uploadAll(what: Prepared, to: Api): Promise<void> {
  for (const [key, bytes] of what.uploads) await upload(to.base, key, new Blob([bytes]), () => undefined);
}

/** Without `holder`: this page's own hold on the job, or everybody's when it has none. */
export async function stop(id = run.value?.id, holder?: string): Promise<void> {
  if (!id) return;
  problem.value = "";
  const holders = view.value?.jobs.get(id)?.namespaces ?? [];
  const own = holder ?? (holders.includes(namespace.value) ? namespace.value : "*");
  const others = own === "*" ? [] : holders.filter((name) => name !== own);
  try {
    await api.value.cancel(id, own);
    if (others.length) problem.value = `This page has let go of the job. It goes on for others who asked for the same: ${others.join(", ")}.`;
  } catch (error) {
    problem.value = (error as Error).message;
  }
}

let startedByItself = "";

/** `autostart`: once for each definition, when the line is up (BROWSER 2.9). On a grid that runs
 * jobs on the visitor's own machine a mere link may not do that; a frame's parent was let in. */
function startByItself(): (() => void) | undefined {
  const what = prepared.value;
  // One at a time: what changes meanwhile has its turn when that is sent.
  if (busy.value || !what || !flag("autostart") || !view.value?.isUp.value || (isGuarded && !isFramed)) return undefined;
  if (startedByItself === what.id) return undefined;
  const timer = setTimeout(() => {
    startedByItself = what.id;
    void submit();
  }, 200);
  return () => clearTimeout(timer);
}

let toldOf = "";

function tellParent(): void {
  const shown = run.value;
  const job = shown?.job.value;
  if (!isFramed || !shown || !job?.finished || isStale.value) return;
  const key = `${shown.id} ${job.finished.time}`;
  if (key === toldOf) return;
  toldOf = key;
  void untracked(() => sendOutputs(frame, shown, flag("resolverefs"), flag("allowsetjob")));
}
