"use strict";
// Links out of Kira's pages. Airflow shows them in a sandbox that may neither lead the whole window elsewhere nor open
// another one; a link in Airflow's own document may, and where that is of our origin we may put one there.
(() => {
  if (window.parent === window) return;
  const follow = (event) => {
    const link = event.target.closest?.("a[target]");
    if (!link || event.defaultPrevented || event.button > 1) return;
    const elsewhere = event.button === 1 || event.ctrlKey || event.metaKey || event.shiftKey || link.target === "_blank";
    try {
      const around = window.parent.document, twin = around.createElement("a");
      twin.href = link.href;
      if (elsewhere) Object.assign(twin, {target: "_blank", rel: "noopener noreferrer"});
      event.preventDefault();
      around.body.append(twin);
      twin.click();
      twin.remove();
    } catch { /* another origin around us: the browser does what it may */ }
  };
  document.addEventListener("click", follow);
  document.addEventListener("auxclick", follow);
})();
// Light or dark as the page around this one: Airflow keeps it as a class of its own document.
(() => {
  const theme = () => {
    let dark = matchMedia("(prefers-color-scheme: dark)").matches;
    try {
      const around = window.parent !== window && window.parent.document.documentElement;
      if (around) dark = around.classList.contains("dark") || around.dataset.theme === "dark";
    } catch { /* another origin around us: what the browser prefers has to do */ }
    document.documentElement.dataset.theme = dark ? "dark" : "light";
  };
  theme();
  try {
    if (window.parent !== window) {
      new MutationObserver(theme).observe(window.parent.document.documentElement, {attributes: true});
    }
  } catch { /* as above */ }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", theme);
})();
