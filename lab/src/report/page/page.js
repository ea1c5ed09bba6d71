"use strict";
// Sorts a table by the column whose name is pressed, and hides the rows that do not hold what is typed.
for (const table of document.querySelectorAll("table.sortable")) {
  const rows = table.tBodies[0];
  table.querySelectorAll("thead button").forEach((button, column) => {
    button.addEventListener("click", () => {
      const head = button.parentElement;
      const down = head.getAttribute("aria-sort") !== "descending";
      for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const text = (row) => row.cells[column].textContent;
      const order = head.classList.contains("number")
        ? (a, b) => (parseFloat(text(a)) || 0) - (parseFloat(text(b)) || 0)
        : (a, b) => text(b).localeCompare(text(a));
      const sorted = [...rows.rows].sort(order);
      if (down) sorted.reverse();
      rows.append(...sorted);
    });
  });
}
for (const field of document.querySelectorAll("input[data-filters]")) {
  const rows = document.getElementById(field.dataset.filters).tBodies[0].rows;
  field.addEventListener("input", () => {
    const wanted = field.value.toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}
