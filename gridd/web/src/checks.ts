/** What is surely not meant, told while it is typed. The grid has the last word: what it would refuse
 * or misread is named here in a sentence, and nothing is kept from being sent. Pure. */

export type Check = (text: string) => string;

const SIZE = /^([0-9]+\.?[0-9]*|\.[0-9]+)\s*[kmgtp]?(i?b)?$/i;
const IMAGE = /^[a-z0-9]+(([._-]+|\/)[a-z0-9]+)*(:[\w][\w.-]*)?(@[\w+.-]+:[0-9a-f]+)?$/;

export const notANumber: Check = (text) =>
  !text.trim() || Number(text) >= 0 ? "" : "Write a number, such as 2 or 0.5. It is left out.";

export const notASize: Check = (text) =>
  !text.trim() || SIZE.test(text.trim()) ? "" : "Write a size, such as 512m or 2g.";

export const notADuration: Check = (text) => {
  const written = text.trim();
  if (!written) return "";
  if (!/^[\d.]/.test(written)) return "Write a time, such as 90s or 1h30m.";
  return /[a-zµμ]/i.test(written) ? "" : "Without a unit these are milliseconds. Write 90s or 1h30m.";
};

/** A registry's own name may hold what a repository's may not: capitals, and a port. */
export const notAnImage: Check = (text) => {
  const [first, ...rest] = text.trim().split("/");
  const path = rest.length && /[.:]|^localhost$/.test(first!) ? rest.join("/") : text.trim();
  return !path || IMAGE.test(path) ? "" : "An image is written like python:3.12-slim: small letters and no spaces, then a colon and its tag.";
};
