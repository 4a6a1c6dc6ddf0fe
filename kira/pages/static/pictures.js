// What could not be had says why: a picture that is not there leaves its sentence, and so does a part of a page.
"use strict";
(() => {
  const say = async (image) => {
    if (image.dataset.said) return;
    image.dataset.said = "yes";
    const place = document.createElement("p");
    place.className = "bad";
    place.textContent = `${image.alt}: it cannot be shown.`;
    (image.closest("a") || image).replaceWith(place);
    try {
      const answer = await fetch(image.src);
      if (!answer.ok && (answer.headers.get("content-type") || "").startsWith("text/plain")) {
        place.textContent = await answer.text();
      }
    } catch { /* the server is away: the sentence above has to do */ }
  };
  const look = (root) => {
    for (const image of root.querySelectorAll("img[data-says]")) {
      if (image.complete && image.currentSrc && !image.naturalWidth) say(image);
      else image.addEventListener("error", () => say(image), {once: true});
    }
  };
  look(document);
  document.addEventListener("htmx:load", (event) => look(event.detail.elt.parentNode || document));
  const failed = (event) => {
    const place = event.detail.target;
    place.textContent = "Not to be had just now: the server gave no answer to this part. Load the page again later.";
    place.classList.add("bad");
  };
  document.addEventListener("htmx:responseError", failed);
  document.addEventListener("htmx:sendError", failed);
})();
