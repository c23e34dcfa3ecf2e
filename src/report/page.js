// Makes the source table of report.html sortable and searchable. The page says the same without it.
(() => {
  const table = document.querySelector("#sources table");
  if (!table) return;
  const body = table.tBodies[0], rows = [...body.rows];

  const keyOf = (row, column) => {
    const cell = row.cells[column], value = cell.dataset.v;
    return value === undefined ? cell.textContent : Number(value);
  };
  const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));

  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      // Numbers: the largest first; texts: from A.
      const numeric = rows.length > 0 && typeof keyOf(rows[0], column) === "number";
      const before = head.getAttribute("aria-sort"), first = numeric ? "descending" : "ascending";
      const now = before === null ? first : before === "ascending" ? "descending" : "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", now);
      const sign = now === "ascending" ? 1 : -1;
      body.append(...rows.sort((a, b) => sign * compare(keyOf(a, column), keyOf(b, column))));
    });
  });

  const filter = document.createElement("div"),
    label = document.createElement("label"),
    shown = document.createElement("span");
  const input = document.createElement("input");
  filter.className = "filter";
  input.type = "search";
  label.append("Show only rows with ", input);
  shown.setAttribute("role", "status");
  filter.append(label, shown);
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    let count = 0;
    for (const row of rows) {
      row.hidden = wanted !== "" && !row.textContent.toLowerCase().includes(wanted);
      if (!row.hidden) count++;
    }
    shown.textContent = wanted === "" ? "" : `${count} of ${rows.length}`;
  });
  table.closest(".table").before(filter);
})();
