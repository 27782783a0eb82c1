// The table of the matrix, and the error of what it needs and the machine does not have.

export class Missing extends Error {}

// Rows by label, in order of appearance; in each cell checks passed of checks made.
export function printTable(cells, columns) {
  const labels = [...new Set(cells.map(({ label }) => label))];
  const width = Math.max(...labels.map((label) => label.length), 0);
  const line = (first, rest) => console.log(`${first.padEnd(width)}  ${rest.map((text) => text.padStart(9)).join("  ")}`);
  line("", columns);
  for (const label of labels) {
    line(label, columns.map((column) => content(cells.find((cell) => cell.label === label && cell.column === column))));
  }
}

function content(cell) {
  if (!cell?.results.length) return "-";
  return `${cell.results.filter(({ error }) => !error).length}/${cell.results.length}`;
}
