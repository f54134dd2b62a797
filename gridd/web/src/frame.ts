/**
 * The page as a metaframe: what it says to the page around it, and what it is told
 * (BROWSER 1.2 to 1.6). Owns nothing of jobs.
 *
 * A parent may begin to listen late, so the first word is said again until it is answered.
 */

type Inputs = Record<string, unknown>;

export interface Parent {
  postMessage(message: unknown, targetOrigin: string): void;
}

interface Message {
  method?: string;
  params?: { parentId?: string; iframeId?: string; inputs?: Inputs; state?: { inputs?: Inputs } };
  iframeId?: string;
  parentId?: string;
}

const VERSION = "2";
const RETRY_MS_MIN = 200;
const RETRY_MS_MAX = 5_000;

export class Frame {
  /** Everything the parent gave so far; only `undefined` takes a pipe away. */
  readonly inputs: Inputs = {};
  private parentId: string | undefined;
  private nextId = 1;
  private outputs: Inputs = {};
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** `name` is `window.name`, by which the parent knows this frame. `onInputs` is told the names
   * that changed. */
  constructor(
    private readonly parent: Parent,
    private readonly name: string,
    private readonly onInputs: (changed: string[]) => void,
    private readonly later: (call: () => void, ms: number) => ReturnType<typeof setTimeout> =
      (call, ms) => setTimeout(call, ms), // as a method of ours a browser would refuse it
  ) {}

  get isConnected(): boolean {
    return this.parentId !== undefined;
  }

  start(delay: number = RETRY_MS_MIN): void {
    if (this.isConnected) return;
    this.say("SetupIframeClientRequest", { version: VERSION });
    this.timer = this.later(() => this.start(Math.min(delay * 2, RETRY_MS_MAX)), delay);
  }

  /** A `message` event of the window. Others use that channel too: what is not ours is left. */
  receive(event: { source: unknown; data: unknown }): void {
    if (event.source !== this.parent || typeof event.data !== "object" || !event.data) return;
    const message = event.data as Message;
    const params = message.params;
    if (!params) return;
    if (message.method === "SetupIframeServerResponse") {
      if ((params.iframeId ?? message.iframeId) !== this.name) return;
      this.connect(params);
    } else if (message.method === "InputsUpdate" && this.isForUs(message)) {
      this.take(params.inputs ?? {});
    }
  }

  /** Merged with what was sent before; `undefined` takes a pipe away. */
  setOutputs(outputs: Inputs): void {
    if (this.isConnected) this.say("OutputsUpdate", outputs);
    else this.outputs = { ...this.outputs, ...outputs };
  }

  /** The frame changed its own address; the parent keeps it. */
  hashChanged(hash: string): void {
    this.say("HashParamsUpdate", { hash, metaframe: this.name });
  }

  private connect(params: NonNullable<Message["params"]>): void {
    clearTimeout(this.timer);
    const again = this.isConnected;
    this.parentId = params.parentId;
    this.say("SetupIframeServerResponseAck", { version: VERSION });
    if (!again) this.say("OutputsUpdate", this.outputs);
    this.outputs = {};
    this.take(params.state?.inputs ?? {});
  }

  private isForUs(message: Message): boolean {
    return this.isConnected && message.iframeId === this.name && message.parentId === this.parentId;
  }

  private take(inputs: Inputs): void {
    const changed = Object.keys(inputs);
    for (const name of changed) {
      if (inputs[name] === undefined) delete this.inputs[name];
      else this.inputs[name] = inputs[name];
    }
    if (changed.length) this.onInputs(changed);
  }

  private say(method: string, params: unknown): void {
    const message: Record<string, unknown> = {
      jsonrpc: "2.0", id: this.nextId++, method, params, iframeId: this.name,
    };
    if (this.parentId !== undefined) message.parentId = this.parentId;
    this.parent.postMessage(message, "*");
  }
}
