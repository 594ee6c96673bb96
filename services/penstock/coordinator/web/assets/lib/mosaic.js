// Positions of an image's parts: each split makes four, left-top, right-top, left-bottom, right-bottom.

export const splitsOf = (operations) => operations.filter(({ op, enabled }) => op === "split" && enabled !== false).length;

// The column and row of part `index` of 4^splits, from 0; the first split is the coarsest.
export function cellOf(index, splits) {
  let column = 0;
  let row = 0;
  for (let level = splits - 1; level >= 0; level -= 1) {
    const quadrant = Math.floor(index / 4 ** level) % 4;
    column = column * 2 + (quadrant & 1);
    row = row * 2 + (quadrant >> 1);
  }
  return [column, row];
}

// Results put together as one image: its cells in reading order, and the sizes of columns and rows in pixels.
export function layOut(results, splits) {
  if (!splits || results.length !== 4 ** splits) return null;
  const side = 2 ** splits;
  const cells = [];
  results.forEach((result, index) => {
    const [column, row] = cellOf(index, splits);
    cells[row * side + column] = result;
  });
  const columns = cells.slice(0, side).map((cell) => cell.width);
  const rows = cells.filter((_, index) => index % side === 0).map((cell) => cell.height);
  return { cells, columns, rows };
}
