/** The script of the page at `/embed/`: its copy buttons, and its live example. */

interface Job extends HTMLElement {
  setInputs(inputs: Record<string, unknown>): void;
  text(output: string): Promise<string>;
}

const isGuarded = document.documentElement.hasAttribute("data-guarded");
const found = <T extends Element = HTMLElement>(selector: string) => document.querySelector<T>(selector)!;

for (const snippet of document.querySelectorAll<HTMLElement>("pre.copy")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", () => void copy(snippet, button));
  snippet.after(button);
}

/** On plain http a page has no clipboard: what is selected is copied by the reader. */
async function copy(snippet: HTMLElement, button: HTMLElement): Promise<void> {
  try {
    await navigator.clipboard.writeText(snippet.textContent ?? "");
    button.textContent = "Copied";
  } catch {
    getSelection()?.selectAllChildren(snippet);
    button.textContent = document.execCommand("copy") ? "Copied" : "Selected: copy it with your keyboard";
  }
  setTimeout(() => void (button.textContent = "Copy"), 2_000);
}

found("#choose").addEventListener("submit", (event) => {
  event.preventDefault();
  const queue = found<HTMLInputElement>("#queue").value.trim();
  if (!queue) return;
  const live = found("#live");
  live.replaceChildren(found<HTMLTemplateElement>("#example").content.cloneNode(true));
  const [sort, last] = [...live.querySelectorAll<Job>("gridd-job")] as [Job, Job];
  for (const job of [sort, last]) {
    // A grid on one's own machine need not have containers.
    if (isGuarded) job.removeAttribute("image");
    job.setAttribute("queue", queue);
  }
  const numbers = live.querySelector<HTMLInputElement>("#numbers")!;
  const give = () => sort.setInputs({ "numbers.txt": numbers.value });
  numbers.addEventListener("change", give);
  last.addEventListener("outputs", () => {
    last.text("largest.txt").then(
      (text) => void (live.querySelector("#largest")!.textContent = text),
      () => void (live.querySelector("#largest")!.textContent = "?"),
    );
  });
  give();
});

if (isGuarded) found<HTMLInputElement>("#queue").value = "local";
export {};
