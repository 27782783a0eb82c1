// The table: a row for each operation, a column for each adapter configuration and constellation.

const LONGEST_CELL = 18;

// Both in the order of `names`; what is not among them comes last.
export function printTable(results, names) {
  const place = (name) => (names.includes(name) ? names.indexOf(name) : names.length);
  const inOrder = (list) => [...new Set(list)].sort((a, b) => place(a) - place(b));
  const columns = inOrder(results.map(({ column }) => column));
  const rows = inOrder(results.map(({ row }) => row));
  const legend = columns.map((column, i) => `  ${String(i + 1).padStart(2)}  ${column}`);
  const reasons = new Map(); // reason: its letter
  const cells = rows.map((row) => columns.map((column) => cell(results.find((each) => each.row === row && each.column === column), reasons)));
  const widths = columns.map((_, i) => Math.min(Math.max(...cells.map((line) => line[i].length), 2), LONGEST_CELL));
  const first = Math.max(...rows.map((row) => row.length));
  const line = (label, texts) => console.log(`${label.padEnd(first)}  ${texts.map((text, i) => text.padStart(widths[i])).join(" ")}`);

  console.log(`\ncolumns:\n${legend.join("\n")}\n`);
  line("", columns.map((_, i) => String(i + 1)));
  for (const [i, row] of rows.entries()) line(row, cells[i]);
  if (reasons.size > 0) console.log("\nskipped:");
  for (const [reason, letter] of reasons) console.log(`  ${letter}  ${reason}`);
}

// `ok`, `ok s1` where a part was skipped, `s1` skipped, `FAILED`, `-` not asked for in this configuration.
function cell(result, reasons) {
  if (!result) return "-";
  if (result.failures.length > 0) return "FAILED";
  const letters = result.skips.map((reason) => {
    if (!reasons.has(reason)) reasons.set(reason, `s${reasons.size + 1}`);
    return reasons.get(reason);
  });
  return [...(result.passed > 0 ? ["ok"] : []), ...letters].join(" ") || "-";
}

export function summarize(results, seconds) {
  const failures = results.flatMap(({ row, column, failures }) => failures.map((failure) => ({ row, column, ...failure })));
  if (failures.length > 0) console.log("");
  for (const { row, column, who, error } of failures) console.log(`failed: ${column}: ${row}, ${who}: ${error}`);
  const passed = results.reduce((sum, result) => sum + result.passed, 0);
  const skipped = results.filter((result) => result.passed === 0 && result.skips.length > 0).length;
  console.log(`\nin ${seconds.toFixed(1)} s`);
  console.log(`${passed} passed, ${failures.length} failed, ${skipped} cells skipped`);
  return passed > 0 && failures.length === 0;
}
