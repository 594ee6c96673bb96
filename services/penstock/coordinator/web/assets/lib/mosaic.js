// Positions of an image's parts: a split or a tile cuts each part into a grid, in reading order.

const GROUP_IDS = 2 ** 30;  // ids from here on are those of groups

// The operations that an image of a job passes: with several outputs, the shared ones and those of the output that it is.
export function operationsOf({ operations, outputs = [] }, id) {
  if (id >= GROUP_IDS) return [];
  return outputs.length ? [...operations, ...outputs[id % outputs.length].operations] : operations;
}

// Where an image is among all of a job, from 0, and which one is at a place: groups come after the images.
export const placeOf = (job, id) => (id < GROUP_IDS ? id : id - GROUP_IDS + job.images.total - countGroups(job));

export function idAt(job, place) {
  const images = job.images.total - countGroups(job);
  return place < images ? place : GROUP_IDS + place - images;
}

// How many groups a job has: all are before, in or past their first step.
export function countGroups({ steps }) {
  const step = steps.find(({ output }) => output === "gather");
  return step ? step.done + step.running + step.waiting + step.failed : 0;
}

// The grids of a plan as [columns, rows], the coarsest first; none if parts cannot be put together as one image.
export function gridsOf(operations) {
  const cuts = operations.filter((each) => (each.op === "split" && each.enabled !== false) || each.op === "tile");
  const first = operations.indexOf(cuts[0]);
  const fits = cuts.every(({ op, columns, overlap }) => op === "split" || (columns && !overlap));
  if (!fits || operations.some(({ op }, index) => op === "rotate" && index > first)) return [];
  return cuts.map(({ op, columns, rows }) => (op === "split" ? [2, 2] : [columns, rows]));
}

// The column and row of part `index`, from 0.
export function cellOf(index, grids) {
  let [column, row, across, down] = [0, 0, 1, 1];
  for (const [columns, rows] of grids.toReversed()) {
    const cell = index % (columns * rows);
    column += (cell % columns) * across;
    row += Math.floor(cell / columns) * down;
    across *= columns;
    down *= rows;
    index = Math.floor(index / (columns * rows));
  }
  return [column, row];
}

// Results put together as one image: its cells in reading order, and the sizes of columns and rows in pixels.
export function layOut(results, grids) {
  const across = grids.reduce((product, [columns]) => product * columns, 1);
  const down = grids.reduce((product, [, rows]) => product * rows, 1);
  if (!grids.length || results.length !== across * down) return null;
  const cells = [];
  results.forEach((result, index) => {
    const [column, row] = cellOf(index, grids);
    cells[row * across + column] = result;
  });
  const columns = cells.slice(0, across).map((cell) => cell.width);
  const rows = cells.filter((_, index) => index % across === 0).map((cell) => cell.height);
  return { cells, columns, rows };
}
