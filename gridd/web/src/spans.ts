/** A line as it is drawn: pieces of one style each, with its links, and with what is looked for. */

import { pieces, type Piece } from "./ansi";

export interface Span extends Piece {
  href?: string;
  isHit?: boolean;
}

interface Range {
  from: number;
  to: number;
  href?: string;
}

const LINK = /https?:\/\/[^\s<>"'`{}|\\^]+/gi;
const LINE_MAX = 20_000; // characters: in longer lines links and hits behind are not marked
const RANGES_MAX = 200; // of a kind in a line

export function spans(line: string, pattern?: RegExp): Span[] {
  const drawn: Span[] = pieces(line);
  if (!pattern && !line.includes("://")) return drawn;
  const text = drawn.map((piece) => piece.text).join("").slice(0, LINE_MAX);
  const links = text.includes("://") ? linksIn(text) : [];
  const hits = pattern ? hitsIn(text, pattern) : [];
  if (!links.length && !hits.length) return drawn;
  return cut(drawn, links, hits);
}

/** Only what is http: a log is a stranger's word, and other schemes do more than lead somewhere. */
function linksIn(text: string): Range[] {
  const found: Range[] = [];
  for (const match of text.matchAll(LINK)) {
    let href = match[0].replace(/[.,;:!?]+$/, "");
    // A bracket that was opened before the link does not belong to it.
    if (/[)\]]$/.test(href) && !/[([]/.test(href)) href = href.replace(/[)\].,;:!?]+$/, "");
    if (URL.canParse(href)) found.push({ from: match.index, to: match.index + href.length, href });
    if (found.length >= RANGES_MAX) break;
  }
  return found;
}

function hitsIn(text: string, pattern: RegExp): Range[] {
  const found: Range[] = [];
  for (const match of text.matchAll(pattern)) {
    found.push({ from: match.index, to: match.index + match[0].length });
    if (found.length >= RANGES_MAX) break;
  }
  return found;
}

function cut(drawn: Span[], links: Range[], hits: Range[]): Span[] {
  const made: Span[] = [];
  const edges = [...links, ...hits].flatMap((it) => [it.from, it.to]).sort((a, b) => a - b);
  const over = (ranges: Range[], at: number) => ranges.find((it) => it.from <= at && at < it.to);
  let begins = 0;
  for (const span of drawn) {
    const ends = begins + span.text.length;
    const inside = edges.filter((it) => it > begins && it < ends);
    let from = begins;
    for (const to of [...inside, ends]) {
      if (to <= from) continue;
      const piece: Span = { text: span.text.slice(from - begins, to - begins), style: span.style };
      const href = over(links, from)?.href;
      if (href) piece.href = href;
      if (over(hits, from)) piece.isHit = true;
      made.push(piece);
      from = to;
    }
    begins = ends;
  }
  return made;
}
