/** A line with a terminal's colours as pieces with a class each; all else that steers a terminal
 * is left out. */

export interface Piece {
  text: string;
  style: string;
}

const ESCAPE = /\x1b\[([0-9;:]*)([A-Za-z])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]|[\x00-\x08\x0b-\x1f\x7f]/g;

interface Pen {
  colour: string;
  bold: boolean;
  dim: boolean;
  underline: boolean;
}

export function pieces(line: string): Piece[] {
  const found: Piece[] = [];
  const pen: Pen = { colour: "", bold: false, dim: false, underline: false };
  let at = 0;
  const keep = (end: number) => {
    if (end > at) found.push({ text: line.slice(at, end), style: styleOf(pen) });
  };
  for (const match of line.matchAll(ESCAPE)) {
    keep(match.index);
    at = match.index + match[0].length;
    if (match[2] === "m") setPen(pen, match[1] ?? "");
  }
  keep(line.length);
  return found;
}

export function plain(line: string): string {
  return line.replace(ESCAPE, "");
}

function setPen(pen: Pen, codes: string): void {
  const numbers = codes.split(/[;:]/).map(Number);
  for (let i = 0; i < numbers.length; i++) {
    const code = numbers[i]!;
    if (code === 0) Object.assign(pen, { colour: "", bold: false, dim: false, underline: false });
    else if (code === 1) pen.bold = true;
    else if (code === 2) pen.dim = true;
    else if (code === 4) pen.underline = true;
    else if (code === 22) pen.bold = pen.dim = false;
    else if (code === 24) pen.underline = false;
    else if (code >= 30 && code <= 37) pen.colour = `c${code - 30}`;
    else if (code >= 90 && code <= 97) pen.colour = `c${code - 90}`;
    else if (code === 39) pen.colour = "";
    else if (code === 38 || code === 48) {
      const extended = numbers[i + 1] === 5 ? numbers[i + 2] : undefined;
      if (code === 38) pen.colour = extended !== undefined && extended < 16 ? `c${extended % 8}` : "";
      i += numbers[i + 1] === 5 ? 2 : 4;
    }
  }
}

function styleOf(pen: Pen): string {
  return [pen.colour, pen.bold && "b", pen.dim && "d", pen.underline && "u"].filter(Boolean).join(" ");
}
