// The questions before something is done, and the doing: a request of this browser to Airflow's own REST API, which
// asks whether this person may. Whatever comes back is shown as text and never as HTML.
"use strict";
(() => {
  let opener = null;

  const show = (dialog) => {
    dialog.addEventListener("close", () => {
      if (opener && document.contains(opener)) opener.focus();
    });
    dialog.showModal();
  };

  const sentence = (status, detail) => {
    const more = detail ? ` Airflow says: ${detail}` : "";
    if (status === 401) return `You are not logged in any more: load the page again and log in.${more}`;
    if (status === 403) return `You may not do this: ask somebody with the permission to run this DAG.${more}`;
    if (status === 404) return `Airflow does not know it (any more).${more}`;
    if (status === 409) return `Airflow refused it because of what is there already.${more}`;
    if (status === 0) return "Airflow could not be reached: try again.";
    return `Airflow refused it (${status}).${more}`;
  };

  const ask = async (url, body) => {
    try {
      const answer = await fetch(url, body === undefined ? {} : {
        method: "POST", credentials: "same-origin",
        headers: {"Content-Type": "application/json", "Accept": "application/json"}, body: JSON.stringify(body),
      });
      const text = await answer.text();
      let value = null;
      try { value = JSON.parse(text); } catch { /* a proxy's page: its status has to do */ }
      const detail = value && value.detail;
      return {ok: answer.ok, status: answer.status, value,
              detail: typeof detail === "string" ? detail : detail ? JSON.stringify(detail).slice(0, 400) : ""};
    } catch {
      return {ok: false, status: 0, value: null, detail: ""};
    }
  };

  const say = (dialog, text, good, href) => {
    const line = document.createElement("p");
    line.className = good ? "good" : "bad";
    line.textContent = text;
    if (href) {
      const link = document.createElement("a");
      link.href = href;
      link.target = "_top";
      link.textContent = "Look at it in Airflow";
      line.append(" ", link, ".");
    }
    dialog.querySelector(".answer").append(line);
  };

  const runPage = (dag, run) => `/dags/${encodeURIComponent(dag)}/runs/${encodeURIComponent(run)}`;
  const dagOf = (dialog) => decodeURIComponent(dialog.dataset.url.split("/").pop());

  const requeue = async (dialog, bodies) => {
    for (const body of bodies) {
      const answer = await ask(`${dialog.dataset.url}/dagRuns`, body);
      if (!answer.ok) { say(dialog, sentence(answer.status, answer.detail), false); return false; }
      const run = answer.value && answer.value.dag_run_id;
      say(dialog, `Run ${run} was started.`, true, run && runPage(dagOf(dialog), run));
    }
    const dag = await ask(dialog.dataset.url);
    if (dag.ok && dag.value.is_paused) say(dialog, "The DAG is paused: it begins once somebody unpauses it.", false);
    return true;
  };

  const clear = async (dialog, bodies) => {
    const answer = await ask(`${dialog.dataset.url}/clearTaskInstances`, {...bodies[0], dry_run: false});
    if (!answer.ok) { say(dialog, sentence(answer.status, answer.detail), false); return false; }
    const count = answer.value.total_entries;
    say(dialog, `${count} task${count === 1 ? " was" : "s were"} cleared.`, true,
        runPage(dagOf(dialog), dialog.dataset.run));
    return true;
  };

  const count = async (dialog, bodies) => {
    const line = dialog.querySelector(".count");
    const answer = await ask(`${dialog.dataset.url}/clearTaskInstances`, {...bodies[0], dry_run: true});
    if (!answer.ok) { line.textContent = ""; say(dialog, sentence(answer.status, answer.detail), false); return; }
    const tasks = new Map();
    for (const one of answer.value.task_instances) tasks.set(one.task_id, (tasks.get(one.task_id) || 0) + 1);
    const names = [...tasks].map(([name, n]) => n > 1 ? `${name} (${n})` : name).join(", ");
    const total = answer.value.total_entries;
    line.textContent = total ? `${total} task${total === 1 ? "" : "s"}: ${names}.`
      : "No task of this run has failed: its frames did, each for its own reason. Requeue them instead.";
    dialog.querySelector("[data-do]").disabled = !total;
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const dialog = button.closest("dialog");
    if (!dialog) { opener = button; return; }
    if ("close" in button.dataset) { dialog.close(); return; }
    if (!("do" in button.dataset)) return;
    button.disabled = true;  // pressed twice it is asked for once
    button.setAttribute("aria-busy", "true");
    dialog.querySelector(".answer").replaceChildren();
    const bodies = JSON.parse(dialog.dataset.bodies);
    const done = await (dialog.dataset.kind === "clear" ? clear : requeue)(dialog, bodies);
    button.removeAttribute("aria-busy");
    if (done) { button.hidden = true; dialog.querySelector("[data-close]").textContent = "Close"; }
    dialog.querySelector("[data-close]").focus();
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id !== "ask") return;
    const dialog = event.detail.target.querySelector("dialog");
    show(dialog);
    if (dialog.dataset.kind === "clear") count(dialog, JSON.parse(dialog.dataset.bodies));
  });

  // A page that says no is not put in anywhere; its sentence is.
  document.addEventListener("htmx:responseError", (event) => {
    const found = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html").querySelector("p.bad");
    const dialog = document.getElementById("refused");
    document.getElementById("refused-text").textContent =
      found ? found.textContent : sentence(event.detail.xhr.status, "");
    show(dialog);
  });
})();
