"use strict";
// The picks of a micrograph: which are left at a distance and a threshold. The same arithmetic, in doubles of the file's
// float32 numbers, as hydrapicker/inspection/choice.py: what is counted here is what the choice gives.

const PICK_NUMBERS = 3; // x, y, score

function decodeFloats(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new Float32Array(bytes.buffer);
}

class MicrographPicks {
  // `numbers`: x, y and score of every pick, best score first.
  constructor(numbers) {
    this.numbers = numbers;
    this.all = numbers.length / PICK_NUMBERS;
    this.keepApart(0);
  }

  score(pick) {
    return this.numbers[pick * PICK_NUMBERS + 2];
  }

  // Keep, best first, every pick no nearer than `distance` pixels to one already kept. A higher threshold only takes the
  // last of them away, so that thresholds need no second look.
  keepApart(distance) {
    const kept = distance > 0 && this.all > 0 ? this.farApart(distance) : null;
    this.kept = kept ?? Int32Array.from({ length: this.all }, (_, i) => i);
  }

  farApart(distance) {
    const { numbers, all } = this;
    let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
    for (let i = 0; i < all; i++) {
      const x = numbers[i * PICK_NUMBERS], y = numbers[i * PICK_NUMBERS + 1];
      left = Math.min(left, x); right = Math.max(right, x);
      top = Math.min(top, y); bottom = Math.max(bottom, y);
    }
    // Cells no smaller than the distance, and not more of them than is sensible.
    const cell = Math.max(distance, (right - left) / 128, (bottom - top) / 128);
    const columns = Math.floor((right - left) / cell) + 3;
    const first = new Int32Array(columns * (Math.floor((bottom - top) / cell) + 3)).fill(-1);
    const next = new Int32Array(all);
    const kept = new Int32Array(all);
    let count = 0;
    for (let i = 0; i < all; i++) {
      const x = numbers[i * PICK_NUMBERS], y = numbers[i * PICK_NUMBERS + 1];
      const at = (Math.floor((y - top) / cell) + 1) * columns + Math.floor((x - left) / cell) + 1;
      let free = true;
      for (let row = -columns; free && row <= columns; row += columns) {
        for (let near = at + row - 1; free && near <= at + row + 1; near++) {
          for (let other = first[near]; other >= 0; other = next[other]) {
            const dx = x - numbers[other * PICK_NUMBERS], dy = y - numbers[other * PICK_NUMBERS + 1];
            if (dx * dx + dy * dy < distance * distance) { free = false; break; }
          }
        }
      }
      if (free) {
        next[i] = first[at];
        first[at] = i;
        kept[count++] = i;
      }
    }
    return kept.slice(0, count);
  }

  // How many picks are left at a threshold, which is compared as float32 like the scores; null keeps all.
  countAt(threshold) {
    if (threshold === null) return this.kept.length;
    const least = Math.fround(threshold);
    let low = 0, high = this.kept.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.score(this.kept[middle]) >= least) low = middle + 1; else high = middle;
    }
    return low;
  }

  // Of the best `count` picks; NaN without any.
  medianOf(count) {
    if (count === 0) return NaN;
    return (this.score(this.kept[(count - 1) >> 1]) + this.score(this.kept[count >> 1])) / 2;
  }
}
