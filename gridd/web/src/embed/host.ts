/**
 * The page's side of the metaframe protocol, for one frame (BROWSER 1.3): it gives inputs, and
 * collects outputs. Owns no element, so that it can be tested against `frame.ts`.
 */

export type Values = Record<string, unknown>;

export interface Listener {
  /** The frame is there (again, after it was loaded anew). */
  ready(): void;
  outputs(changed: Values): void;
  /** The frame changed its own address. */
  hash(text: string): void;
}

interface Message {
  method?: unknown;
  params?: unknown;
  iframeId?: unknown;
  parentId?: unknown;
}

const VERSION = "2";

export class Host {
  readonly inputs: Values = {};
  readonly outputs: Values = {};
  /** Given since the frame was last told everything. */
  private unsent: Values = {};
  /** It was given everything. */
  isReady = false;

  /** `id` is the frame's `name`; `parentId` tells this page's own frames from others'. */
  constructor(
    readonly id: string,
    private readonly parentId: string,
    private readonly post: (message: unknown) => void,
    private readonly listener: Listener,
  ) {}

  /** What is not ours is left: the channel belongs to the whole page. */
  receive(data: unknown): void {
    if (!isObject(data)) return;
    const { method, params, iframeId, parentId } = data as Message;
    if (iframeId !== this.id || !isObject(params)) return;
    if (method === "SetupIframeClientRequest") this.greet();
    if (parentId !== this.parentId) return;
    if (method === "SetupIframeServerResponseAck") this.begin();
    else if (method === "OutputsUpdate") this.take(params);
    else if (method === "InputsUpdate") this.setInputs(params); // what it keeps with us comes back to it
    else if (method === "HashParamsUpdate" && typeof params.hash === "string") this.listener.hash(params.hash);
  }

  /** Merged with what was given before; `undefined` takes an input away. */
  setInputs(changes: Values): void {
    merge(this.inputs, changes);
    if (this.isReady) this.say("InputsUpdate", { inputs: changes, parentId: this.parentId });
    else this.unsent = { ...this.unsent, ...changes };
  }

  /** The frame is gone; what it was given is for the next. */
  left(): void {
    this.isReady = false;
  }

  private greet(): void {
    this.isReady = false;
    this.unsent = {};
    const { id: iframeId, parentId } = this;
    this.say("SetupIframeServerResponse", { iframeId, parentId, state: { inputs: this.inputs }, version: VERSION });
  }

  private begin(): void {
    if (this.isReady) return;
    this.isReady = true;
    const late = this.unsent;
    this.unsent = {};
    if (Object.keys(late).length) this.say("InputsUpdate", { inputs: late, parentId: this.parentId });
    this.listener.ready();
  }

  private take(changed: Values): void {
    if (!Object.keys(changed).length) return;
    merge(this.outputs, changed);
    this.listener.outputs(changed);
  }

  private say(method: string, params: unknown): void {
    this.post({ jsonrpc: "2.0", id: "_", method, params, iframeId: this.id, parentId: this.parentId });
  }
}

function isObject(value: unknown): value is Values {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function merge(into: Values, changes: Values): void {
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) delete into[name];
    else into[name] = value;
  }
}
