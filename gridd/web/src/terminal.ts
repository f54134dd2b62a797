/** xterm.js, loaded when a log is to be seen as a terminal draws it: read only, in our colours. */

import { FitAddon } from "@xterm/addon-fit";
import { Terminal, type ITheme } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import type { LogLine } from "./api";
import type { Sink } from "./log";
import type { Run } from "./run";

export const SCROLLBACK_LINES = 10_000;
/** Programs that are not told how wide their terminal is take it to be so wide; on a narrower one
 * what they draw would break where they do not expect it. What does not fit is scrolled to. */
const COLUMNS_MIN = 80;
/** Characters: it draws between one write and the next. */
const WRITTEN_AT_ONCE = 32_768;

/** Shows the log from its beginning and follows it until the answer is called. */
export function openTerminal(root: HTMLElement, run: Run): () => void {
  const terminal = new Terminal({
    convertEol: true, // lines come with \n alone
    disableStdin: true,
    screenReaderMode: true,
    scrollback: SCROLLBACK_LINES,
    minimumContrastRatio: 4.5,
    fontSize: 12.5,
    fontFamily: property("--mono"),
    theme: themeOf(),
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(root);
  terminal.attachCustomKeyEventHandler((event) => scrollByKey(terminal, event));
  terminal.write("\x1b[?25l"); // nothing is typed here

  const resize = () => {
    const fits = fit.proposeDimensions();
    if (fits && fits.rows > 0) terminal.resize(Math.max(COLUMNS_MIN, fits.cols), fits.rows);
  };
  resize();
  const observer = new ResizeObserver(resize);
  observer.observe(root);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const recolour = () => void (terminal.options.theme = themeOf());
  dark.addEventListener("change", recolour);
  const stop = run.replay(new Screen(terminal));
  return () => {
    stop();
    observer.disconnect();
    dark.removeEventListener("change", recolour);
    terminal.dispose();
  };
}

/** The terminal draws later than it is told to. What waits for that is at most one page of the log. */
class Screen implements Sink {
  private held = "";

  constructor(private readonly terminal: Terminal) {}

  add([text]: LogLine): void {
    this.held += text;
    if (this.held.length >= WRITTEN_AT_ONCE) this.write();
  }

  remark(text: string): void {
    this.held += `\x1b[2m${text}\x1b[0m\n`;
  }

  clear(): void {
    this.held = "";
    this.terminal.reset();
    this.terminal.write("\x1b[?25l");
  }

  drained(): Promise<void> {
    return new Promise((done) => this.write(done));
  }

  private write(done?: () => void): void {
    this.terminal.write(this.held, done);
    this.held = "";
  }
}

/** False: the terminal does nothing with the key, so that Tab leaves it. */
function scrollByKey(terminal: Terminal, event: KeyboardEvent): boolean {
  if (event.type !== "keydown" || event.altKey || event.ctrlKey || event.metaKey) return false;
  const moves: Record<string, () => void> = {
    PageUp: () => terminal.scrollPages(-1),
    PageDown: () => terminal.scrollPages(1),
    ArrowUp: () => terminal.scrollLines(-1),
    ArrowDown: () => terminal.scrollLines(1),
    Home: () => terminal.scrollToTop(),
    End: () => terminal.scrollToBottom(),
  };
  const move = moves[event.key];
  if (move) {
    move();
    event.preventDefault();
  }
  return false;
}

function property(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function themeOf(): ITheme {
  const [red, green, yellow, cyan, quiet, ink] = ["--bad", "--good", "--wait", "--accent", "--quiet", "--ink"].map(property) as [string, string, string, string, string, string];
  const [blue, magenta] = ["#3d76c9", "#a557b5"];
  return {
    background: property("--sunken"), foreground: ink, cursor: ink, selectionBackground: property("--hit"),
    black: quiet, red, green, yellow, blue, magenta, cyan, white: ink,
    brightBlack: quiet, brightRed: red, brightGreen: green, brightYellow: yellow, brightBlue: blue, brightMagenta: magenta, brightCyan: cyan, brightWhite: ink,
  };
}
