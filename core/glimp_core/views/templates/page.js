"use strict";
{
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  let lit = [];

  const clear = () => {
    tip.hidden = true;
    for (const element of lit) element.classList.remove("on");
    lit = [];
  };

  const show = (column) => {
    clear();
    const step = document.getElementById(column.dataset.step);
    if (!step) return;
    lit = [step, ...document.querySelectorAll(`[data-step="${column.dataset.step}"]`)];
    for (const element of lit) element.classList.add("on");
    const title = document.createElement("b");
    title.textContent = step.dataset.title;
    tip.replaceChildren(title, step.querySelector(".facts").cloneNode(true));
    tip.className = `tip ${step.classList.contains("large") ? "large" : "small"}`;
    tip.hidden = false;
    const at = column.getBoundingClientRect();
    const left = Math.min(Math.max(8, at.left + at.width / 2 - tip.offsetWidth / 2), innerWidth - tip.offsetWidth - 8);
    const under = at.bottom + 8 + tip.offsetHeight < innerHeight;
    tip.style.left = `${left}px`;
    tip.style.top = `${under ? at.bottom + 8 : Math.max(8, at.top - 8 - tip.offsetHeight)}px`;
  };

  for (const columns of document.querySelectorAll(".columns")) {
    columns.addEventListener("pointerover", (event) => {
      const column = event.target.closest("[data-step]");
      if (column) show(column);
    });
    columns.addEventListener("pointerleave", clear);
    columns.addEventListener("focusin", (event) => {
      const column = event.target.closest("[data-step]");
      if (column) show(column);
    });
    columns.addEventListener("focusout", clear);
  }
  addEventListener("scroll", clear, { passive: true });
  addEventListener("hashchange", () => document.querySelector(`details${location.hash}`)?.setAttribute("open", ""));
}
