/**
 * The other side of `frame.ts`: this page as the parent of one viewer metaframe, to which it gives
 * one file (BROWSER 1.3). What the viewer puts out is not taken.
 *
 * The viewer is a stranger too: only messages of its own window are read, and only its address's
 * own origin is answered.
 */

interface Target {
  postMessage(message: unknown, targetOrigin: string): void;
}

interface Said {
  method?: unknown;
  iframeId?: unknown;
  parentId?: unknown;
  params?: unknown;
}

const VERSION = "2";

export class Viewer {
  isConnected = false;

  /** `id` is the frame's `name`; `origin`: of its address. `onHash` is told the part of the
   * address behind the `#` when the viewer changes it. */
  constructor(
    private readonly target: () => Target | null | undefined,
    private readonly id: string,
    private readonly parentId: string,
    private readonly origin: string,
    private readonly inputs: Record<string, unknown>,
    private readonly onConnected: () => void,
    private readonly onHash: (hash: string) => void,
  ) {}

  /** A `message` event of the window. */
  receive(event: { source: unknown; origin: string; data: unknown }): void {
    if (!event.source || event.source !== this.target() || event.origin !== this.origin) return;
    const said = event.data as Said | null;
    if (typeof said !== "object" || !said || said.iframeId !== this.id) return;
    if (said.method === "SetupIframeClientRequest") {
      // Also when it asks again: it was loaded anew.
      this.say("SetupIframeServerResponse", { iframeId: this.id, parentId: this.parentId, state: { inputs: this.inputs }, version: VERSION });
      return;
    }
    if (said.parentId !== this.parentId) return;
    if (said.method === "SetupIframeServerResponseAck") this.connected();
    else if (said.method === "InputsUpdate") this.say("InputsUpdate", { inputs: said.params, parentId: this.parentId }); // its own notes, given back
    else if (said.method === "HashParamsUpdate") {
      const hash = (said.params as { hash?: unknown } | undefined)?.hash;
      if (typeof hash === "string") this.onHash(hash);
    }
  }

  private connected(): void {
    // Some viewers look at updates only.
    this.say("InputsUpdate", { inputs: this.inputs, parentId: this.parentId });
    if (!this.isConnected) this.onConnected();
    this.isConnected = true;
  }

  private say(method: string, params: unknown): void {
    const message = { jsonrpc: "2.0", id: "_", method, params, iframeId: this.id, parentId: this.parentId };
    this.target()?.postMessage(message, this.origin);
  }
}

/** Up to here a file goes by value; beyond, a viewer is told where to fetch it. */
export const VALUE_BYTES_MAX = 1_000_000;

/** What a viewer is given: text as text, JSON as what it says, bytes as a `Blob` (never as base64:
 * the library loses large ones), and a large file as a reference (BROWSER 1.5). `bytes` is
 * undefined for what was not loaded whole. */
export function handedOver(kind: string, mime: string, name: string, bytes: Uint8Array<ArrayBuffer> | undefined, url: string): { value: unknown; isReference: boolean } {
  if (!bytes || bytes.length > VALUE_BYTES_MAX) {
    const marks = [mime && `mimeType=${encodeURIComponent(mime)}`, `name=${encodeURIComponent(name)}`].filter(Boolean).map((it) => `;${it}`).join("");
    return { value: `data:text/x-uri;charset=utf-8${marks},${encodeURIComponent(url)}`, isReference: true };
  }
  if (kind === "json") {
    try {
      return { value: JSON.parse(new TextDecoder().decode(bytes)) as unknown, isReference: false };
    } catch {
      // then it is text
    }
  }
  if (["json", "text", "table", "html"].includes(kind)) return { value: new TextDecoder().decode(bytes), isReference: false };
  return { value: new Blob([bytes], { type: mime || "application/octet-stream" }), isReference: false };
}

/** The address as typed, completed; `undefined` for what is none. `barred`: an origin that may not
 * be one. A grid on the visitor's own machine bars itself: its page starts jobs by itself in a frame. */
export function viewerAddress(text: string, barred?: string): URL | undefined {
  const typed = text.trim();
  const whole = /^https?:\/\//i.test(typed) ? typed : `https://${typed}`;
  try {
    const url = new URL(whole);
    return url.hostname && url.origin !== barred && !/\s/.test(typed) ? url : undefined;
  } catch {
    return undefined;
  }
}
