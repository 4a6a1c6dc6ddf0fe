// Light or dark as the page around this one: Airflow keeps it as a class of its own document.
"use strict";
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
