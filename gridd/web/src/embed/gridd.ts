/**
 * `/embed/gridd.js`: jobs in anybody's page, as an element of it.
 *
 *     <script src="https://GRID/embed/gridd.js"></script>
 *     <gridd-job src="LINK" height="400"></gridd-job>
 *
 * Nothing of the page around it is touched or needed; its policy has to let the grid's script and
 * frames in, and no more.
 */

import { ALLOW } from "../forhosts";
import { contentOf } from "./content";
import { Host, type Values } from "./host";
import { frameUrl, NAMES, type Written } from "./link";

const HEIGHT_PX = 400;

// Only while the script itself is run does a page say where it came from.
const script = (document.currentScript ?? document.querySelector('script[src*="/embed/gridd.js"]')) as HTMLScriptElement | null;
const grid = new URL("/", script?.src ?? location.href).href;

let made = 0;

class GriddJob extends HTMLElement {
  static readonly observedAttributes = [...NAMES, "height", "title"];

  private readonly host: Host;
  private frame: HTMLIFrameElement | undefined;
  private address = "";
  private hasStarted = false;

  constructor() {
    super();
    // A random part: a parent's frames may be ours as well, and have children of their own.
    const nonce = Math.random().toString(36).slice(2, 10);
    this.host = new Host(`gridd-job-${++made}-${nonce}`, nonce, (message) => this.post(message), {
      ready: () => {
        this.show();
        this.tell("ready", undefined);
      },
      outputs: (changed) => {
        this.tell("outputs", changed);
        for (const next of all()) if (next.sources.includes(this.id)) next.setInputs(changed);
      },
      hash: (text) => this.moved(text),
    });
  }

  // --- for scripts of the page ------------------------------------------------------

  /** By name: what the last run gave. Values are references; `text`, `json` and `blob` read them. */
  get outputs(): Values {
    return { ...this.host.outputs };
  }

  get inputs(): Values {
    return { ...this.host.inputs };
  }

  /** Texts, numbers, JSON, `Blob`s, `ArrayBuffer`s, or outputs of another; `undefined` takes away. */
  setInputs(inputs: Values): void {
    this.host.setInputs(inputs);
    if (this.frame) this.show();
  }

  blob(output: string): Promise<Blob> {
    return contentOf(this.host.outputs[output]);
  }

  async text(output: string): Promise<string> {
    return (await this.blob(output)).text();
  }

  async json(output: string): Promise<unknown> {
    return JSON.parse(await this.text(output));
  }

  /** The job as it is now, with what was edited in the frame. */
  get link(): string {
    return this.address;
  }

  // --- for the browser --------------------------------------------------------------

  connectedCallback(): void {
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
    this.style.display ||= "block";
    addEventListener("message", this);
    const frame = (this.frame = document.createElement("iframe"));
    frame.name = this.host.id; // the frame reads back who it is
    frame.allow = ALLOW;
    frame.style.cssText = "display:block;width:100%;border:0";
    if (this.getAttribute("loading") === "lazy") frame.loading = "lazy";
    this.show();
    root.replaceChildren(frame);
    for (const source of all()) if (this.sources.includes(source.id)) this.setInputs(source.outputs);
  }

  disconnectedCallback(): void {
    removeEventListener("message", this);
    this.frame?.remove();
    this.frame = undefined;
    this.host.left();
  }

  attributeChangedCallback(): void {
    if (this.frame) this.show();
  }

  handleEvent(event: MessageEvent): void {
    // Its window, and still its page: a frame that was led elsewhere is told and believed nothing.
    if (event.source === this.frame?.contentWindow && event.origin === this.origin) this.host.receive(event.data);
  }

  // --- its own ----------------------------------------------------------------------

  /** Elements whose outputs are this one's inputs. */
  get sources(): string[] {
    return (this.getAttribute("inputs-from") ?? "").split(/\s+/).filter(Boolean);
  }

  private get origin(): string {
    return new URL(this.address).origin;
  }

  private show(): void {
    const frame = this.frame!;
    const height = this.getAttribute("height") ?? "";
    frame.style.height = /^\d+(\.\d+)?$/.test(height) ? `${height}px` : height || `${HEIGHT_PX}px`;
    frame.title = this.getAttribute("title") ?? "A job on a compute grid";
    const written = Object.fromEntries(NAMES.map((name) => [name, this.getAttribute(name)])) as Written;
    try {
      const { isReady, inputs } = this.host;
      const hasInputs = isReady && (!this.sources.length || Object.keys(inputs).length > 0);
      const address = frameUrl(written, grid, hasInputs || this.hasStarted);
      this.hasStarted ||= hasInputs; // a frame that is loaded anew is shown the same address
      if (frame.dataset.shown === address) return; // a new height must not undo what was edited
      frame.dataset.shown = this.address = address;
      frame.src = address; // where only the part behind # differs, the frame is not loaded anew
    } catch (error) {
      console.error(`gridd-job: ${(error as Error).message}`);
    }
  }

  private moved(hash: string): void {
    // An edit leaves the short address of a job that is what it is.
    this.address = new URL(/[?&]job=/.test(hash) ? `/${hash}` : hash, this.address).href;
    this.tell("link", this.address);
  }

  private post(message: unknown): void {
    this.frame?.contentWindow?.postMessage(message, this.origin);
  }

  private tell(type: string, detail: unknown): void {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function all(): GriddJob[] {
  return [...document.querySelectorAll<GriddJob>("gridd-job")].filter((it) => it instanceof GriddJob);
}

// The tag may stand in a page twice, by way of templates.
if (!customElements.get("gridd-job")) customElements.define("gridd-job", GriddJob);
