/**
 * Heights of many rows: which row is at which pixel, and back, without walking over all of them.
 *
 * Sums are kept for blocks of rows, so that adding and changing one costs nothing to speak of and
 * finding one in 200,000 looks at some hundreds of numbers.
 */

const BLOCK = 512;

export class Heights {
  private readonly rows: number[] = [];
  private readonly blocks: number[] = [];
  total = 0;

  get count(): number {
    return this.rows.length;
  }

  get(at: number): number {
    return this.rows[at] ?? 0;
  }

  push(height: number): void {
    const block = Math.floor(this.rows.length / BLOCK);
    this.rows.push(height);
    this.blocks[block] = (this.blocks[block] ?? 0) + height;
    this.total += height;
  }

  set(at: number, height: number): void {
    const more = height - this.rows[at]!;
    this.rows[at] = height;
    this.blocks[Math.floor(at / BLOCK)]! += more;
    this.total += more;
  }

  clear(): void {
    this.rows.length = this.blocks.length = this.total = 0;
  }

  /** Where row `at` begins; behind the last one: where it ends. */
  offset(at: number): number {
    const end = Math.min(at, this.rows.length);
    const block = Math.floor(end / BLOCK);
    let sum = 0;
    for (let i = 0; i < block; i++) sum += this.blocks[i]!;
    for (let i = block * BLOCK; i < end; i++) sum += this.rows[i]!;
    return sum;
  }

  /** The row that holds this pixel: the first one above all, the last one below all. */
  at(pixel: number): number {
    let block = 0;
    let sum = 0;
    while (block + 1 < this.blocks.length && sum + this.blocks[block]! <= pixel) sum += this.blocks[block++]!;
    let row = block * BLOCK;
    while (row + 1 < this.rows.length && sum + this.rows[row]! <= pixel) sum += this.rows[row++]!;
    return row;
  }
}
