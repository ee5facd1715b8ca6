// What the pages cannot do without a script; everything works without it.
"use strict";

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.sure;
  if (question && !window.confirm(question)) event.preventDefault();
});

document.addEventListener("click", (event) => {
  const id = event.target.closest("code.id");
  if (id && navigator.clipboard) {
    navigator.clipboard.writeText(id.textContent);
    id.dataset.copied = "true";
    window.setTimeout(() => delete id.dataset.copied, 1200);
  }
  for (const menu of document.querySelectorAll("details.person[open]")) {
    if (!menu.contains(event.target)) menu.removeAttribute("open");
  }
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, textarea, select");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    document.getElementById("find")?.focus();
  }
});
