// A frame's picture with its sources: drawn on one canvas, moved and zoomed, each source told when it is pointed at.
// Positions are those of the frame: column 0, row 0 is the centre of the pixel at the lower left.
"use strict";
(() => {
  const get = (id) => document.getElementById(id);
  const box = get("viewer"), canvas = get("canvas"), said = get("said"), told = get("source");
  const {base} = box.dataset;
  const columns = Number(box.dataset.columns), rows = Number(box.dataset.rows);
  const context = canvas.getContext("2d");
  const COLOURS = ["#37d67a", "#ffb000", "#ff6b6b"], CHOSEN = "#ffffff", MOST = 16, NEAR = 12;
  const pictures = new Map();
  let profile = box.dataset.profile, sources = {drawn: [], texts: [], labels: []};
  let view = {zoom: 1, x: (columns - 1) / 2, y: (rows - 1) / 2};  // zoom 1 shows the whole frame
  let chosen = -1, pinned = false, asked = false, there = false;

  const scale = () => view.zoom * Math.min(box.clientWidth / columns, canvas.clientHeight / rows);
  const toScreen = (x, y) => {
    const s = scale();
    return [canvas.clientWidth / 2 + (x - view.x) * s, canvas.clientHeight / 2 - (y - view.y) * s];
  };
  const toFrame = (px, py) => {
    const s = scale();
    return [view.x + (px - canvas.clientWidth / 2) / s, view.y - (py - canvas.clientHeight / 2) / s];
  };

  // -- pictures

  const stretch = () => get("stretch").value;
  const wanted = () => scale() * devicePixelRatio > 0.6 ? 1 : 2;
  const picture = (by) => {
    if (!there) return null;
    const key = `${stretch()} ${by}`;
    if (!pictures.has(key)) {
      const image = new Image();
      image.onload = () => { said.textContent = ""; ask(); };
      image.onerror = () => why(image.src);
      image.src = `${base}/picture?stretch=${stretch()}&scale=${by}`;
      pictures.set(key, image);
    }
    return pictures.get(key);
  };
  const why = async (address) => {
    said.textContent = "The picture cannot be shown.";
    try {
      const answer = await fetch(address);
      if (!answer.ok) said.textContent = await answer.text();
    } catch { /* the server is away: the sentence above has to do */ }
  };
  const ready = (image) => image.complete && image.naturalWidth > 0;

  // -- drawing

  const ask = () => {
    if (!asked) { asked = true; requestAnimationFrame(draw); }
  };
  const draw = () => {
    asked = false;
    const ratio = devicePixelRatio, width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = "#101418";
    context.fillRect(0, 0, width, height);
    let by = wanted(), image = picture(by);
    if (image && !ready(image) && by === 1) { by = 2; image = picture(2); }
    if (image && ready(image)) {
      const s = scale(), tall = image.naturalHeight * by, [left, top] = toScreen(-0.5, tall - 0.5);
      context.imageSmoothingEnabled = s < 2;
      context.drawImage(image, left, top, image.naturalWidth * by * s, tall * s);
    }
    if (get("marks").checked) sources.drawn.forEach((one, n) => { if (n !== chosen) mark(one, false); });
    if (chosen >= 0) mark(sources.drawn[chosen], true);
  };
  const mark = ([, x, y, a, b, theta, kind], isChosen) => {
    const s = scale(), [px, py] = toScreen(x, y), reach = Math.max(a * s, 4) + 8;
    if (px < -reach || py < -reach || px > canvas.clientWidth + reach || py > canvas.clientHeight + reach) return;
    const major = Math.max(a * s, 2), minor = Math.max(b * s, 2);
    context.strokeStyle = isChosen ? CHOSEN : COLOURS[kind];
    context.lineWidth = isChosen ? 3 : kind ? 1.6 : 1.1;
    context.setLineDash(kind === 1 ? [4, 3] : []);
    context.beginPath();
    if (kind === 2) {
      const r = Math.max(major, 5) * 1.25;
      context.moveTo(px, py - r); context.lineTo(px + r, py); context.lineTo(px, py + r); context.lineTo(px - r, py);
      context.closePath();
    } else context.ellipse(px, py, major, minor, -theta, 0, 2 * Math.PI);
    context.stroke();
    context.setLineDash([]);
    if (isChosen) {
      context.beginPath();
      context.arc(px, py, Math.max(major, 8) + 7, 0, 2 * Math.PI);
      context.lineWidth = 1.5;
      context.stroke();
    }
  };

  // -- sources

  const tell = (n) => {
    if (n === chosen) return;
    chosen = n;
    const lines = n < 0 ? [["None chosen", "Point at one, or press n."]]
      : [...sources.labels.map((label, i) => [label, sources.texts[n][i]]), ["mark", sources.kinds[sources.drawn[n][6]]]];
    told.replaceChildren(...lines.map(([name, text]) => {
      const line = document.createElement("div"), dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = name;
      dd.textContent = text;
      line.append(dt, dd);
      return line;
    }));
    ask();
  };
  const nearest = (px, py) => {
    const s = scale(), [x, y] = toFrame(px, py);
    let best = -1, least = Infinity;
    sources.drawn.forEach(([, sx, sy, a], n) => {
      const apart = Math.hypot(sx - x, sy - y) * s;
      if (apart < Math.max(NEAR, a * s) && apart < least) { best = n; least = apart; }
    });
    return best;
  };
  const show = (n) => {
    pinned = n >= 0;
    tell(n);
    if (n < 0) return;
    const [, x, y] = sources.drawn[n], [px, py] = toScreen(x, y);
    if (px < 20 || py < 20 || px > canvas.clientWidth - 20 || py > canvas.clientHeight - 20) go({x, y});
  };
  const middleOf = (n) => toScreen(sources.drawn[n][1], sources.drawn[n][2]);
  const step = (by) => {
    const all = sources.drawn.length;
    if (all) show(chosen < 0 ? (by > 0 ? 0 : all - 1) : (chosen + by + all) % all);
  };
  const load = async () => {
    const count = get("count");
    sources = {drawn: [], texts: [], labels: []};
    pinned = false;
    tell(-1);
    count.textContent = "The sources are being read …";
    try {
      const answer = await fetch(`${base}/sources.json?profile=${encodeURIComponent(profile)}`);
      if (!answer.ok) { count.textContent = await answer.text(); return; }
      sources = await answer.json();
      there = !sources.no_picture;
      said.textContent = sources.no_picture;
      box.classList.toggle("empty", !there && !sources.drawn.length);
      if (sources.why) { count.textContent = sources.why; ask(); return; }
      const all = sources.total, most = sources.drawn.length;
      count.textContent = `${all.toLocaleString("en")} sources in ${sources.profile}` +
        (most < all ? `, the brightest ${most.toLocaleString("en")} drawn` : "") +
        (sources.published ? "" : "; they are not published") +
        (sources.synthetic ? ". Synthetic: made by Kira, not observed" : "") + ".";
    } catch { count.textContent = "The sources could not be read: the server gave no answer."; }
    ask();
  };

  // -- view, which is part of the address so that another band shows the same place

  const remember = () => {
    const hash = view.zoom === 1 ? "" : `#z=${view.zoom.toFixed(2)}&x=${view.x.toFixed(0)}&y=${view.y.toFixed(0)}`;
    history.replaceState(null, "", location.pathname + location.search + hash);
    for (const link of document.querySelectorAll("[data-keeps-view]")) link.hash = hash;
    canvas.classList.toggle("moving", view.zoom > 1);
  };
  const go = (to) => {
    view = {...view, ...to};
    view.zoom = Math.min(MOST, Math.max(1, view.zoom));
    const s = scale(), wide = canvas.clientWidth / 2 / s, tall = canvas.clientHeight / 2 / s;
    const within = (at, half, all) => all <= 2 * half ? (all - 1) / 2
      : Math.min(all - 0.5 - half, Math.max(half - 0.5, at));
    view.x = within(view.x, wide, columns);
    view.y = within(view.y, tall, rows);
    remember();
    ask();
  };
  const zoom = (by, px = canvas.clientWidth / 2, py = canvas.clientHeight / 2) => {
    const [x, y] = toFrame(px, py), old = view.zoom, now = Math.min(MOST, Math.max(1, old * by));
    go({zoom: now, x: x + (view.x - x) * old / now, y: y + (view.y - y) * old / now});
  };
  const whole = () => go({zoom: 1, x: (columns - 1) / 2, y: (rows - 1) / 2});
  const fromAddress = () => {
    const asked = new URLSearchParams(location.hash.slice(1)), at = (name) => Number(asked.get(name));
    if (asked.has("z") && ["z", "x", "y"].every((name) => Number.isFinite(at(name)))) {
      go({zoom: at("z"), x: at("x"), y: at("y")});
    } else go({});
  };

  // -- pointer, keys, controls

  const fingers = new Map();
  let from = null, drawnOut = 0;
  const place = (event) => {
    const corner = canvas.getBoundingClientRect();
    return [event.clientX - corner.left, event.clientY - corner.top];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (view.zoom > 1 || event.pointerType === "mouse") canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, place(event));
    from = place(event);
    drawnOut = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const now = place(event), before = fingers.get(event.pointerId);
    if (!before) {
      if (!pinned) tell(nearest(...now));
      return;
    }
    if (fingers.size === 2) {
      const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      const apart = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
      zoom(apart(now, other) / Math.max(1, apart(before, other)), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    } else {
      const s = scale();
      drawnOut = Math.max(drawnOut, Math.hypot(now[0] - from[0], now[1] - from[1]));
      if (drawnOut > 4) go({x: view.x - (now[0] - before[0]) / s, y: view.y + (now[1] - before[1]) / s});
    }
    fingers.set(event.pointerId, now);
  });
  const lifted = (event) => {
    const was = fingers.delete(event.pointerId);
    if (event.type === "pointerup" && was && drawnOut <= 4) {
      const n = nearest(...place(event));
      pinned = n >= 0;
      tell(n);
    }
  };
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, lifted);
  canvas.addEventListener("pointerleave", () => { if (!pinned) tell(-1); });
  canvas.addEventListener("dblclick", (event) => zoom(2, ...place(event)));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;  // else the page could not be scrolled past the picture
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 300), ...place(event));
  }, {passive: false});
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const far = 60 / scale(), closer = () => pinned ? zoom(1.5, ...middleOf(chosen)) : zoom(1.5);
    const keys = {
      "+": closer, "=": closer, "-": () => zoom(1 / 1.5), "0": whole,
      "n": () => step(1), "p": () => step(-1), "Escape": () => show(-1),
      "ArrowLeft": () => go({x: view.x - far}), "ArrowRight": () => go({x: view.x + far}),
      "ArrowUp": () => go({y: view.y + far}), "ArrowDown": () => go({y: view.y - far}),
    };
    if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  });
  get("in").addEventListener("click", () => zoom(1.5));
  get("out").addEventListener("click", () => zoom(1 / 1.5));
  get("whole").addEventListener("click", whole);
  get("marks").addEventListener("change", ask);
  get("stretch").addEventListener("change", () => { keep(); ask(); });
  // A band's page is another document: what was chosen here goes with it for as long as the window is open.
  const keep = () => { try { sessionStorage.setItem("kira-stretch", stretch()); } catch { /* not allowed: so be it */ } };
  try {
    const before = sessionStorage.getItem("kira-stretch");
    if ([...get("stretch").options].some((one) => one.value === before)) get("stretch").value = before;
  } catch { /* as above */ }
  const select = get("profile");
  if (select) {
    select.addEventListener("change", () => {
      profile = select.value;
      load();
    });
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.show");
    if (!button) return;
    const n = sources.drawn.findIndex(([number]) => number === Number(button.dataset.source));
    if (n < 0) return;
    const [, x, y] = sources.drawn[n];
    go({zoom: Math.max(view.zoom, 4), x, y});
    show(n);
    canvas.focus();
    canvas.scrollIntoView({block: "center"});
  });
  window.addEventListener("hashchange", fromAddress);
  new ResizeObserver(() => go({})).observe(canvas);
  fromAddress();
  load();
})();
