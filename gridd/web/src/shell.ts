/** Words as a shell takes them. Pure. */

const PLAIN = /^[A-Za-z0-9_@%+=:,./-]+$/;

export function quoted(word: string): string {
  return PLAIN.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
