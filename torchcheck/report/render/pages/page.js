(() => {
  "use strict";
  document.addEventListener("click", async event => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const code = button.previousElementSibling;
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
  });
  addEventListener("beforeprint", () => { for (const fold of document.querySelectorAll("details")) fold.open = true; });

  const form = document.querySelector(".filters");
  if (!form) return;
  const text = document.getElementById("text"), shown = document.getElementById("shown");
  const selects = ["topic", "status", "device", "dtype"].map(name => document.getElementById(name));
  // A check is a tbody; its name stands in the first of its rows that is shown, and spans the others.
  const groups = [...document.querySelectorAll("#rows tbody")].map(body => {
    const head = body.querySelector("th"), id = head.firstElementChild.textContent, title = head.textContent.toLowerCase();
    const rows = [...body.rows].map(row => {
      const [device, dtype, status] = [...row.cells].slice(-7).map(cell => cell.textContent.trim());
      const fields = [id.split(".")[0], status, device, dtype];
      return {row, fields, words: [title, ...fields].join(" ").toLowerCase()};
    });
    return {body, head, rows};
  });
  const total = groups.reduce((sum, group) => sum + group.rows.length, 0);

  const filter = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = ({fields, words: said}) =>
      selects.every((select, i) => !select || !select.value || select.value === fields[i]) && words.every(word => said.includes(word));
    let count = 0;
    for (const {body, head, rows} of groups) {
      const kept = rows.filter(entry => !(entry.row.hidden = !fits(entry)));
      body.hidden = !kept.length;
      if (kept.length) {
        kept[0].row.prepend(head);
        head.rowSpan = kept.length;
      }
      count += kept.length;
    }
    shown.textContent = `${count} of ${total} results`;
  };

  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  for (const link of document.querySelectorAll("a[data-status], a[data-topic]"))
    link.addEventListener("click", () => {
      form.reset();
      for (const select of selects) if (select && select.id in link.dataset) select.value = link.dataset[select.id];
      filter();
    });
  addEventListener("keydown", event => {
    if (event.key === "/" && !event.target.closest("input, select, textarea")) {
      event.preventDefault();
      text.focus();
    }
  });
  filter();
})();
