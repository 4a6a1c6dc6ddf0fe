// All fields of a survey on a canvas: Hammer's equal-area projection about wherever one looks, so that the whole sky and
// a single field are one picture. Nearly a million points are projected for each picture: unit vectors in typed arrays,
// no sine or cosine per point, written into the pixels of an image. What is not in view is left out by cells of 2 degrees.
"use strict";
(() => {
  const frame = document.getElementById("sky");
  if (!frame) return;
  const {root, catalogue, archive, release} = frame.dataset;
  const base = `${root}/sky/${catalogue}`;
  const $ = (id) => document.getElementById(id);
  const below = $("sky-fields"), above = $("sky-lines");
  const image = below.getContext("2d", {alpha: true}), lines = above.getContext("2d");
  const RAD = Math.PI / 180, ALONG = 1489 * 0.396 / 3600 / 2 * RAD, ACROSS = 2048 * 0.396 / 3600 / 2 * RAD;
  const LAST_SURVEY_RUN = 8162;
  const BANDS = "ugriz";

  // -- states and colours. The order of the ranks is that of who is drawn over whom.
  const STATES = [
    {words: "not asked for", letter: "–", rank: 1}, {words: "to do", letter: "T", rank: 2},
    {words: "at work", letter: "W", rank: 4}, {words: "published", letter: "P", rank: 3},
    {words: "failed", letter: "F", rank: 6}, {words: "not in the archive", letter: "N", rank: 5},
  ];
  const PUBLISHED = 3, FAILED_RANK = 6;
  const BORDER = 100;  // added to the rank of a field, for the pixels of its outline
  const OUTLINED = 20;  // pixels from which on a field can be chosen
  // Okabe & Ito (2008), which people with any kind of colour vision tell apart.
  const COLOURS = {
    light: ["#b8b8b8", "#56b4e9", "#0072b2", "#e69f00", "#cc79a7", "#d55e00"],
    dark: ["#5a5a5a", "#a6dcff", "#3a96d0", "#f0b429", "#e39ac2", "#ff7a33"],
  };
  // viridis (CC0) at nine places; its brightness grows evenly.
  const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];
  const STEPS = 9;
  const dark = () => document.documentElement.dataset.theme === "dark";
  const rgba = (hex) => {
    const n = parseInt(hex.slice(1), 16);
    return (255 << 24 | (n & 255) << 16 | (n >> 8 & 255) << 8 | n >> 16) >>> 0;
  };
  const bandState = (packed, band) => packed >> 3 * band & 7;
  const WORST = [4, 5, 2, 1, 3, 0];
  const overall = (packed) => {
    let seen = 0;
    for (let band = 0; band < 5; band++) seen |= 1 << bandState(packed, band);
    return WORST.find((state) => seen >> state & 1);
  };

  // -- the sky
  let count = 0, chunk = 0, version = "", stamps = [];
  let vx, vy, vz, order, placeOf, code, ra, dec, number, edge, segmentOf, segments = [], states, sources = null;
  let cells = null;  // first, last, and the cone that holds all of it
  const view = {ra: 0, dec: 0, scale: 1};  // degrees; pixels a radian
  let width = 0, height = 0, ratio = 1, buffer = null, pixels = null, ranks = null, least = 1;
  let by = "state", band = "all", hovered = -1, wanted = false, ranges = [], urgent = [];

  const limit = () => {
    view.ra = (view.ra % 360 + 360) % 360;
    view.scale = Math.min(Math.max(view.scale, least), 250000);
    const tilt = 90 * (1 - least / view.scale);
    view.dec = Math.min(Math.max(view.dec, -tilt), tilt);
  };
  const basis = () => {
    const a = view.ra * RAD, d = view.dec * RAD;
    const ca = Math.cos(a), sa = Math.sin(a), cd = Math.cos(d), sd = Math.sin(d);
    return [cd * ca, cd * sa, sd, -sa, ca, 0, -sd * ca, -sd * sa, cd];
  };
  // Hammer (1892) by half angles: with the centre on the x axis, r = hypot(x, y) is the cosine of the latitude.
  const project = (m, a, b, c, out) => {
    const x = m[0] * a + m[1] * b + m[2] * c, y = m[3] * a + m[4] * b, z = m[6] * a + m[7] * b + m[8] * c;
    const r = Math.sqrt(x * x + y * y), half = Math.sqrt(r * Math.max(r + x, 1e-15) / 2);  // cos(lat) cos(lon / 2)
    const d = view.scale * Math.SQRT2 / Math.sqrt(1 + half);
    out[0] = width / 2 - d * y * r / half;
    out[1] = height / 2 - d * z;
    return x;
  };
  const vector = (a, d) => [Math.cos(d * RAD) * Math.cos(a * RAD), Math.cos(d * RAD) * Math.sin(a * RAD), Math.sin(d * RAD)];
  // The direction under a pixel, in the frame of the sky; null beside the sky.
  const under = (px, py) => {
    const X = (width / 2 - px) / view.scale, Y = (height / 2 - py) / view.scale;
    const w2 = 1 - X * X / 16 - Y * Y / 4;
    if (w2 < 0.5) return null;
    const w = Math.sqrt(w2), lon = 2 * Math.atan2(w * X, 2 * (2 * w2 - 1)), sin = w * Y, cos = Math.sqrt(Math.max(0, 1 - sin * sin));
    const x = cos * Math.cos(lon), y = cos * Math.sin(lon), m = basis();
    return [m[0] * x + m[3] * y + m[6] * sin, m[1] * x + m[4] * y + m[7] * sin, m[2] * x + m[8] * sin];
  };
  const NODE = vector(275, 0);
  const degrees = (v) => [(Math.atan2(v[1], v[0]) / RAD + 360) % 360, Math.atan2(v[2], Math.hypot(v[0], v[1])) / RAD];
  const reach = () => {  // angle from the centre that holds all that is in view
    const m = basis();
    let least = 1;
    for (const [x, y] of [[0, 0], [width, 0], [0, height], [width, height], [width / 2, 0], [0, height / 2]]) {
      const v = under(x, y);
      if (!v) return Math.PI;
      least = Math.min(least, m[0] * v[0] + m[1] * v[1] + m[2] * v[2]);
    }
    return Math.acos(Math.min(1, Math.max(-1, least))) * 1.02;
  };
  const visibleCells = function* (m, angle) {
    for (const cell of cells) {
      if (angle + cell.angle >= Math.PI || m[0] * cell.x + m[1] * cell.y + m[2] * cell.z > Math.cos(angle + cell.angle)) yield cell;
    }
  };

  // -- drawing the fields
  const fieldPixels = () => 2 * ALONG * view.scale;
  const point = new Float64Array(2), corner = new Float64Array(8);
  const corners = (m, n) => {
    // Along the run: towards the next field of it, or from the one before; alone, along SDSS's great circle, all of
    // which pass through right ascension 95 and 275 degrees on the equator (York et al. 2000, section 3).
    const p = placeOf[n], x = vx[p], y = vy[p], z = vz[p];
    let tx = -x, ty = -y, tz = -z;
    if (edge[n] === 3) {
      tx += NODE[0]; ty += NODE[1]; tz += NODE[2];
    } else {
      const q = placeOf[edge[n] & 2 ? n - 1 : n + 1];
      tx += vx[q]; ty += vy[q]; tz += vz[q];
    }
    const dot = tx * x + ty * y + tz * z;
    tx -= dot * x; ty -= dot * y; tz -= dot * z;
    const f = ALONG / (Math.sqrt(tx * tx + ty * ty + tz * tz) || 1), g = ACROSS / ALONG;
    tx *= f; ty *= f; tz *= f;
    // So small a part of the sky is flat: what is off at the corners is below a pixel at any scale.
    project(m, x, y, z, point);
    const px = point[0], py = point[1];
    project(m, x + tx, y + ty, z + tz, point);
    const ax = point[0] - px, ay = point[1] - py;
    project(m, x + g * (y * tz - z * ty), y + g * (z * tx - x * tz), z + g * (x * ty - y * tx), point);
    const bx = point[0] - px, by = point[1] - py;
    corner[0] = px + ax + bx; corner[1] = py + ay + by; corner[2] = px - ax + bx; corner[3] = py - ay + by;
    corner[4] = px - ax - bx; corner[5] = py - ay - by; corner[6] = px + ax - bx; corner[7] = py + ay - by;
  };
  const fill = (value, W, H) => {  // a convex polygon of four corners, line by line
    let top = Infinity, bottom = -Infinity;
    for (let i = 1; i < 8; i += 2) { top = Math.min(top, corner[i]); bottom = Math.max(bottom, corner[i]); }
    const last = Math.min(H - 1, Math.floor(bottom * ratio - 0.5));
    for (let row = Math.max(0, Math.ceil(top * ratio - 0.5)); row <= last; row++) {
      const at = (row + 0.5) / ratio;
      let left = Infinity, right = -Infinity;
      for (let i = 0; i < 4; i++) {
        const j = (i + 1) % 4, y0 = corner[2 * i + 1], y1 = corner[2 * j + 1];
        if (y0 > at !== y1 > at) {
          const x = corner[2 * i] + (at - y0) / (y1 - y0) * (corner[2 * j] - corner[2 * i]);
          if (x < left) left = x;
          if (x > right) right = x;
        }
      }
      const from = Math.max(0, Math.round(left * ratio)), to = Math.min(W, Math.round(right * ratio));
      for (let p = row * W + from, end = row * W + to; p < end; p++) if (ranks[p] < value) ranks[p] = value;
    }
  };
  const border = (value, W, H) => {
    for (let i = 0; i < 8; i += 2) {
      const j = (i + 2) % 8, x = corner[i] * ratio, y = corner[i + 1] * ratio;
      const dx = corner[j] * ratio - x, dy = corner[j + 1] * ratio - y, steps = Math.ceil(Math.max(Math.abs(dx), Math.abs(dy)));
      for (let k = 0; k < steps; k++) {
        const px = Math.floor(x + dx * k / steps), py = Math.floor(y + dy * k / steps);
        if (px >= 0 && px < W && py >= 0 && py < H && ranks[py * W + px] < value) ranks[py * W + px] = value;
      }
    }
  };
  const darker = (colour) => (0xff000000 | (colour >> 1 & 0x7f7f7f)) >>> 0;
  const shades = () => {  // by rank, the first of which is no field
    const own = COLOURS[dark() ? "dark" : "light"], of = band === "all" ? 5 : 1;
    if (by === "state") return ["", ...own];
    if (by === "sources") return ["", own[0], ...VIRIDIS];
    return ["", own[0], ...Array.from({length: of}, (_, i) => VIRIDIS[Math.round((i + 1) * 8 / of)])];
  };
  const palette = () => {
    const found = new Uint32Array(256);
    shades().forEach((hex, i) => { if (hex) found[i] = rgba(hex); });
    for (let i = 1; i < BORDER; i++) found[BORDER + i] = darker(found[i]);
    return found;
  };
  const drawFields = (m, angle, stride) => {
    const W = below.width, H = below.height, shown = [];
    ranks.fill(0);
    const size = fieldPixels() * ratio;
    for (const cell of visibleCells(m, angle)) {
      if (size >= (stride > 1 ? 12 : 6)) {
        for (let p = cell.first; p < cell.last; p++) {
          if (!code[p]) continue;
          const x = project(m, vx[p], vy[p], vz[p], point), margin = fieldPixels();
          if (x < 0 && angle < 1) continue;
          if (point[0] < -margin || point[0] > width + margin || point[1] < -margin || point[1] > height + margin) continue;
          corners(m, order[p]);
          fill(code[p], W, H);
          if (size >= 16 * ratio && stride === 1) border(BORDER + code[p], W, H);
          if (margin >= OUTLINED) shown.push(order[p]);
        }
      } else {
        dots(m, cell, Math.max(1, Math.round(size)), W, H, stride);
      }
    }
    if (size < 6) dots(m, null, Math.max(1, Math.round(size)), W, H, 1);
    const colours = palette();
    for (let p = 0; p < pixels.length; p++) pixels[p] = colours[ranks[p]];
    image.putImageData(buffer, 0, 0);
    return shown;
  };
  // The points of a cell; without one, those that are to be seen among a thousand others.
  const dots = (m, cell, size, W, H, stride) => {
    const [a, b, c, d, e, , g, h, i] = m, k = view.scale * ratio * Math.SQRT2, cx = W / 2, cy = H / 2;
    const alone = !cell, wide = alone ? Math.max(3, size) : Math.max(size, Math.min(3, Math.round(fieldPixels() * ratio * stride)));
    for (let n = alone ? 0 : cell.first, end = alone ? urgent.length : cell.last; n < end; n += stride) {
      const p = alone ? urgent[n] : n, value = code[p], X = vx[p], Y = vy[p], Z = vz[p];
      const x = a * X + b * Y + c * Z, y = d * X + e * Y, z = g * X + h * Y + i * Z;
      const r = Math.sqrt(x * x + y * y), s = r + x > 1e-15 ? r + x : 1e-15;
      const half = Math.sqrt(r * s * 0.5), q = k / Math.sqrt(1 + half);
      const px = cx - q * y * r / half | 0, py = cy - q * z | 0;
      if (px < 0 || px >= W || py < 0 || py >= H) continue;
      if (wide === 1) {
        const at = py * W + px;
        if (ranks[at] < value) ranks[at] = value;
        continue;
      }
      const x0 = Math.max(0, px - (wide >> 1)), x1 = Math.min(W, x0 + wide), y0 = Math.max(0, py - (wide >> 1)), y1 = Math.min(H, y0 + wide);
      for (let row = y0; row < y1; row++) for (let at = row * W + x0; at < row * W + x1; at++) if (ranks[at] < value) ranks[at] = value;
    }
  };

  // -- drawing what lies over them: grid, outlines, words
  const GRID = [30, 15, 10, 5, 2, 1, 0.5, 0.2, 0.1];
  let ink = "", faint = "", paper = "";
  const inks = () => {
    const style = getComputedStyle(document.documentElement);
    [ink, faint, paper] = ["--pico-color", "--pico-muted-color", "--pico-background-color"].map((name) => style.getPropertyValue(name).trim());
  };
  const drawLines = (m, angle, shown, hasty) => {
    const device = above.width / width;
    lines.setTransform(device, 0, 0, device, 0, 0);
    lines.clearRect(0, 0, width, height);
    lines.lineWidth = 1; lines.strokeStyle = faint; lines.fillStyle = ink;
    lines.font = "12px system-ui, sans-serif"; lines.textBaseline = "middle";
    const span = Math.min(180, angle / RAD), step = GRID.findLast((one) => span / one <= 7) ?? 30;
    lines.globalAlpha = 0.45;
    const labels = [];
    const whole = angle >= Math.PI - 1e-9;
    const decs = [Math.max(-90, view.dec - span), Math.min(90, view.dec + span)];
    const polar = Math.max(Math.abs(decs[0]), Math.abs(decs[1])) >= 89.9;
    const half = polar || whole ? 180 : Math.min(180, span / Math.cos(Math.max(Math.abs(decs[0]), Math.abs(decs[1])) * RAD));
    for (let d = Math.ceil(decs[0] / step) * step; d <= decs[1] + 1e-9; d += step) {
      if (Math.abs(d) < 90) curve(m, labels, `${+d.toFixed(2)}°`, "left", (t) => [view.ra - half + 2 * half * t, d]);
    }
    const around = step / (polar && span < 60 ? Math.max(1 / 6, Math.cos(view.dec * RAD)) : Math.max(0.2, whole ? 1 : Math.cos(view.dec * RAD)));
    const turn = [...GRID].reverse().find((one) => one >= around - 1e-9) ?? 30;
    for (let a = Math.ceil((view.ra - half) / turn) * turn; a < view.ra + half - 1e-9; a += turn) {
      curve(m, labels, `${+((a % 360 + 360) % 360).toFixed(2)}°`, whole ? "equator" : "bottom", (t) => [a, decs[0] + (decs[1] - decs[0]) * t]);
    }
    if (whole) {
      lines.globalAlpha = 0.8; lines.beginPath();
      lines.ellipse(width / 2, height / 2, 2 * Math.SQRT2 * view.scale, Math.SQRT2 * view.scale, 0, 0, 2 * Math.PI); lines.stroke();
    }
    lines.globalAlpha = 1;
    for (const [text, x, y] of labels) written(text, x, y);
    if (!hasty) names(m, shown);
    ring(m);
    if (document.activeElement === above) {
      lines.strokeStyle = ink; lines.lineWidth = 2; lines.beginPath();
      for (const [x, y] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        lines.moveTo(width / 2 + 4 * x, height / 2 + 4 * y); lines.lineTo(width / 2 + 12 * x, height / 2 + 12 * y);
      }
      lines.stroke();
    }
  };
  const written = (text, x, y) => {
    lines.lineWidth = 3; lines.strokeStyle = paper; lines.lineJoin = "round"; lines.strokeText(text, x, y);
    lines.fillStyle = ink; lines.fillText(text, x, y);
  };
  const curve = (m, labels, text, where, at) => {
    let before = null, best = null;
    lines.beginPath();
    for (let i = 0; i <= 90; i++) {
      const [a, d] = at(i / 90), v = vector(a, d);
      project(m, ...v, point);
      const [x, y] = point, there = x >= 0 && x <= width && y >= 0 && y <= height;
      if (before && Math.hypot(x - before[0], y - before[1]) < Math.max(width, height) / 2) lines.lineTo(x, y); else lines.moveTo(x, y);
      before = [x, y];
      const score = where === "left" ? x : where === "bottom" ? -y : Math.abs(d);
      if (there && x > 2 && x < width - 44 && y > 8 && y < height - 8 && (!best || score < best[0])) best = [score, x, y];
    }
    lines.stroke();
    if (best) labels.push([text, where === "left" ? best[1] + 3 : best[1] + 2, where === "bottom" ? best[2] - 3 : best[2]]);
  };
  const names = (m, shown) => {
    const size = fieldPixels(), long = size >= 110;
    if (size < 70) return;
    // Where fields lie over each other, the name of the one that is uppermost, and the others where there is room.
    const taken = [], high = long ? 34 : 32, wide = long ? 112 : 30;
    shown.sort((one, other) => code[placeOf[other]] - code[placeOf[one]] || one - other);
    const hexes = shades();
    lines.textAlign = "center"; lines.font = "600 12px system-ui, sans-serif";
    for (const n of shown) {
      const p = placeOf[n];
      project(m, vx[p], vy[p], vz[p], point);
      const [x, y] = point, s = segments[segmentOf[n]];
      if (taken.some(([a, b]) => Math.abs(a - x) < wide && Math.abs(b - y) < high)) continue;
      taken.push([x, y]);
      if (taken.length > 150) break;
      lines.fillStyle = onto(hexes[code[p]]);
      if (long) {
        lines.fillText(`${s[0]}-${s[1]}-${number[n]}`, x, y - 9);
        lines.fillText([...BANDS].map((name, b) => name + STATES[bandState(states[n], b)].letter).join(" "), x, y + 9);
      } else {
        lines.fillText(`${number[n]}`, x, y - 8);
        lines.fillText(STATES[overall(states[n])].letter, x, y + 8);
      }
    }
    lines.textAlign = "left";
  };
  const onto = (hex) => {  // what can be read upon a colour
    const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    return 0.3 * r + 0.59 * g + 0.11 * b > 110 ? "#000" : "#fff";
  };
  const ring = (m) => {  // round the field under the pointer
    if (hovered < 0) return;
    lines.strokeStyle = ink; lines.lineWidth = 3; lines.beginPath();
    if (fieldPixels() >= 6) {
      corners(m, hovered);
      lines.moveTo(corner[0], corner[1]);
      for (let i = 2; i < 8; i += 2) lines.lineTo(corner[i], corner[i + 1]);
      lines.closePath();
    } else {
      const p = placeOf[hovered];
      project(m, vx[p], vy[p], vz[p], point);
      lines.arc(point[0], point[1], 5, 0, 7);
    }
    lines.stroke();
  };
  // While somebody moves a sky that takes long to draw, every second or third of its points has to do; as soon as it
  // stands still, all of them are there. Failures are always all drawn.
  const FRAME_MS = 14;
  let inMotion = false, whole = 0, coarse = 1;
  const draw = () => {
    wanted = false;
    if (!cells || !width) return;
    const began = performance.now(), m = basis(), angle = reach();
    coarse = inMotion ? Math.max(1, Math.min(6, Math.ceil(whole / FRAME_MS))) : 1;
    drawLines(m, angle, drawFields(m, angle, coarse), coarse > 1);
    whole = (performance.now() - began) * coarse;
  };
  const redraw = () => { if (!wanted) { wanted = true; requestAnimationFrame(draw); } };

  // -- colours of all fields, and the legend
  const recolour = () => {
    inks();
    if (!cells) return;
    const table = new Uint8Array(32768), b = BANDS.indexOf(band);
    for (let packed = 0; packed < 32768; packed++) {
      if (by === "state") table[packed] = STATES[b < 0 ? overall(packed) : bandState(packed, b) % 6]?.rank ?? 1;
      else {
        let published = 0;
        for (let i = 0; i < 5; i++) published += (b < 0 || i === b) && bandState(packed, i) === PUBLISHED;
        table[packed] = 1 + published;
      }
    }
    const tally = new Float64Array(256);
    if (by === "sources" && sources) {
      const step = quantiles();
      for (let p = 0; p < count; p++) code[p] = step[sources[order[p]]];
    } else {
      for (let p = 0; p < count; p++) code[p] = table[states[order[p]]];
    }
    for (let p = 0; p < count; p++) tally[code[p]]++;
    urgent = by === "state" ? code.reduce((found, rank, p) => { if (rank === FAILED_RANK) found.push(p); return found; }, []) : [];
    legend(tally);
    redraw();
  };
  const quantiles = () => {  // as many fields in each colour, as far as they differ; the colour of each number
    const step = new Uint8Array(65536).fill(1), often = new Float64Array(65536);
    let published = 0, so = 0;
    for (let n = 0; n < count; n++) if (sources[n]) { often[sources[n]]++; published++; }
    ranges = [];
    for (let value = 1; value < 65536; value++) {
      const i = Math.min(STEPS - 1, Math.floor(so / published * STEPS)) || 0;
      step[value] = 2 + i;
      if (often[value]) { ranges[i] ??= [value, value]; ranges[i][1] = value; }
      so += often[value];
    }
    return step;
  };
  const legend = (tally) => {
    const entries = [], number = (n) => n.toLocaleString("en"), hexes = shades();
    if (by === "state") {
      for (const one of [3, 2, 1, 4, 5, 0]) {
        const {words, letter, rank} = STATES[one];
        entries.push([hexes[rank], letter, `${words}: ${number(tally[rank])}`]);
      }
    } else if (by === "bands") {
      const of = band === "all" ? 5 : 1;
      for (let i = 0; i <= of; i++) entries.push([hexes[i + 1], `${i}`, `${i} of ${of} published: ${number(tally[i + 1])}`]);
    } else {
      entries.push([hexes[1], "0", `no sources published: ${number(tally[1])}`]);
      ranges.forEach(([least, most], i) => {
        entries.push([VIRIDIS[i], "", `${number(least)}${most > least ? ` to ${number(most)}` : ""}: ${number(tally[i + 2])}`]);
      });
    }
    $("sky-legend").replaceChildren(...entries.map(([colour, letter, words]) => {
      const item = document.createElement("li"), swatch = document.createElement("span");
      swatch.className = "sky-swatch"; swatch.style.backgroundColor = colour; swatch.textContent = letter;
      swatch.style.color = onto(colour); swatch.setAttribute("aria-hidden", "true");
      item.append(swatch, `${words}${by === "bands" && band !== "all" ? ` in ${band}` : ""}`);
      return item;
    }));
  };

  // -- what the server says
  const get = async (path) => {
    const answer = await fetch(`${base}/${path}`, {credentials: "same-origin"});
    if (!answer.ok) throw new Error(`${answer.status}`);
    return answer;
  };
  const parts = () => [...stamps.keys()];
  const load = async (now) => {
    ({version, fields: count, chunk} = now);
    stamps = now.stamps.map(() => -1);
    segments = await (await get(`segments?version=${version}`)).json();
    $("sky-synthetic").hidden = !segments.some(([run]) => run > LAST_SURVEY_RUN);
    ra = new Float32Array(count); dec = new Float32Array(count); states = new Uint16Array(count);
    number = new Uint16Array(count); edge = new Uint8Array(count); segmentOf = new Uint32Array(count);
    let n = 0;
    segments.forEach(([, , first, length], s) => {
      for (let i = 0; i < length; i++, n++) { number[n] = first + i; segmentOf[n] = s; }
      edge[n - length] |= 1; edge[n - 1] |= 2;
    });
    for (const part of parts()) {
      const content = await (await get(`positions/${part}?version=${version}`)).arrayBuffer(), m = content.byteLength / 6;
      const of = (at, to, shift) => {
        const high = new Uint16Array(content.slice(at, at + 2 * m)), low = new Uint8Array(content, at + 2 * m, m);
        for (let i = 0; i < m; i++) to[part * chunk + i] = (high[i] * 256 + low[i]) * 360 / 16777216 - shift;
      };
      of(0, ra, 0); of(3 * m, dec, 90);
      say(`Positions: ${Math.min(count, (part + 1) * chunk).toLocaleString("en")} of ${count.toLocaleString("en")} fields.`);
    }
    sort();
  };
  const sort = () => {  // into cells of two degrees
    const bands = 90, of = new Int32Array(count), offset = [0];
    const inBand = (b) => Math.max(1, Math.round(180 * Math.cos((-90 + 2 * b + 1) * RAD)));
    for (let b = 0; b < bands; b++) offset.push(offset[b] + inBand(b));
    const first = new Int32Array(offset[bands] + 1);
    for (let n = 0; n < count; n++) {
      const b = Math.min(bands - 1, Math.floor((dec[n] + 90) / 2)), k = offset[b + 1] - offset[b];
      of[n] = offset[b] + Math.min(k - 1, Math.floor(ra[n] / 360 * k));
      first[of[n] + 1]++;
    }
    for (let c = 0; c < offset[bands]; c++) first[c + 1] += first[c];
    const next = first.slice();
    order = new Int32Array(count); placeOf = new Int32Array(count); code = new Uint8Array(count);
    vx = new Float32Array(count); vy = new Float32Array(count); vz = new Float32Array(count);
    for (let n = 0; n < count; n++) {
      const p = next[of[n]]++, v = vector(ra[n], dec[n]);
      order[p] = n; placeOf[n] = p; vx[p] = v[0]; vy[p] = v[1]; vz[p] = v[2];
    }
    const made = [];
    for (let c = 0; c < offset[bands]; c++) {
      const a = first[c], z = first[c + 1];
      if (a === z) continue;
      let x = 0, y = 0, w = 0, least = 1;
      for (let p = a; p < z; p++) { x += vx[p]; y += vy[p]; w += vz[p]; }
      const length = Math.hypot(x, y, w) || 1;
      x /= length; y /= length; w /= length;
      for (let p = a; p < z; p++) least = Math.min(least, vx[p] * x + vy[p] * y + vz[p] * w);
      made.push({first: a, last: z, x, y, z: w, angle: Math.acos(Math.max(-1, Math.min(1, least))) + ALONG + ACROSS});
    }
    cells = made;
  };
  const loadSources = async () => {
    if (by !== "sources") { sources = null; return; }
    const found = new Uint16Array(count), asked = band;
    for (const part of parts()) found.set(new Uint16Array(await (await get(`sources/${asked}/${part}`)).arrayBuffer()), part * chunk);
    if (by === "sources" && band === asked) sources = found;
  };
  const say = (text) => { const line = $("sky-progress"); if (line.textContent !== text) line.textContent = text; };
  let timer = 0, seenWhole = false;
  const look = async () => {
    clearTimeout(timer);
    let wait = 10000;
    try {
      const now = await (await get("now")).json();
      if (!now.version) { say(`There is no map: ${now.error}`); timer = setTimeout(look, 30000); return; }
      if (version && now.version !== version) { location.reload(); return; }
      const fresh = !version;
      if (fresh) await load(now);
      // Another process of the server, which has just begun to read, knows less than we do.
      const behind = seenWhole && !now.whole;
      seenWhole ||= now.whole;
      const changed = behind ? [] : parts().filter((part) => stamps[part] !== now.stamps[part]);
      for (const part of changed) {
        states.set(new Uint16Array(await (await get(`states/${part}`)).arrayBuffer()), part * chunk);
        stamps[part] = now.stamps[part];
      }
      if (changed.length) { await loadSources(); recolour(); }
      if (fresh) begin();
      const reading = now.read < now.to_read;
      if (reading) wait = 1500;
      say([
        `${count.toLocaleString("en")} fields.`, reading ? `The ledger is being read: ${now.read} of ${now.to_read} runs.` : "",
        now.unplaced ? `${now.unplaced.toLocaleString("en")} more are in the ledger, and not on the map: their position is not known.` : "",
        now.error ? `The ledger could not be read: ${now.error}` : "",
      ].filter(Boolean).join(" "));
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      say(`The map could not be brought up to date (${error.message}); it is tried again.`);
    }
    timer = setTimeout(look, document.hidden ? 60000 : wait);
  };

  // -- moving
  const resize = () => {
    const box = frame.getBoundingClientRect();
    if (!box.width || !box.height) return;
    const whole = view.scale <= least * 1.001 || !width;
    width = box.width; height = box.height;
    const device = Math.min(window.devicePixelRatio || 1, 3);
    // The pixels of the fields are ours to fill: no more than two million of them.
    ratio = Math.max(1, Math.min(device, 2, Math.sqrt(2e6 / (width * height))));
    below.width = Math.round(width * ratio); below.height = Math.round(height * ratio);
    above.width = Math.round(width * device); above.height = Math.round(height * device);
    buffer = image.createImageData(below.width, below.height);
    pixels = new Uint32Array(buffer.data.buffer); ranks = new Uint8Array(pixels.length);
    least = 0.97 * Math.min(width / (4 * Math.SQRT2), height / (2 * Math.SQRT2));
    if (whole) view.scale = least;
    limit(); redraw();
  };
  let settling = 0, resting = 0;
  const moved = () => {
    inMotion = true; limit(); redraw();
    clearTimeout(resting);
    resting = setTimeout(() => { inMotion = false; if (coarse > 1) redraw(); }, 180);
    clearTimeout(settling);
    settling = setTimeout(settled, 500);
  };
  const shownRadius = () => Math.min(width, height) / 2 / view.scale / RAD;
  const settled = () => {
    const radius = shownRadius(), whole = view.scale <= least * 1.001;
    history.replaceState(null, "", whole ? "#" : `#${view.ra.toFixed(4)},${view.dec.toFixed(4)},${radius.toPrecision(3)}`);
    if (radius > 3 || !window.htmx) return;
    window.htmx.ajax("GET", `${base}/table?ra=${view.ra.toFixed(5)}&dec=${view.dec.toFixed(5)}&radius=${radius.toFixed(4)}`, {target: "#sky-view", swap: "innerHTML"});
  };
  const zoom = (factor, x = width / 2, y = height / 2) => {
    const before = under(x, y);
    view.scale *= factor; limit();
    const after = before && under(x, y);
    if (after) pull(before, after);
    moved();
  };
  const pull = (from, to) => {  // turn the sky so that what was at `to` comes to where `from` is wanted
    const [a0, d0] = degrees(from), [a1, d1] = degrees(to);
    view.ra += ((a0 - a1 + 540) % 360) - 180; view.dec += d0 - d1;
  };
  const shift = (x, y) => {
    view.ra += x / view.scale / RAD / Math.max(0.1, Math.cos(view.dec * RAD)); view.dec += y / view.scale / RAD; moved();
  };
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let journey = 0;
  const go = (a, d, radius) => {
    const from = {...view}, scale = Math.max(least, Math.min(width, height) / 2 / (radius * RAD));
    const by = ((a - from.ra + 540) % 360) - 180, began = performance.now(), mine = ++journey;
    const step = (time) => {
      if (mine !== journey) return;
      const t = still.matches ? 1 : Math.min(1, Math.max(0, (time - began) / 700)), e = t * t * (3 - 2 * t);
      view.ra = from.ra + by * e; view.dec = from.dec + (d - from.dec) * e; view.scale = from.scale * (scale / from.scale) ** e;
      moved();
      if (t < 1) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  };
  const nearest = (x, y) => {
    const v = cells && under(x, y);
    if (!v) return -1;
    const within = Math.max(1.05 * Math.hypot(ALONG, ACROSS), 6 / view.scale), cos = Math.cos(within);
    let best = -1, bestDot = cos;
    for (const cell of cells) {
      if (v[0] * cell.x + v[1] * cell.y + v[2] * cell.z < Math.cos(Math.min(Math.PI, within + cell.angle))) continue;
      for (let p = cell.first; p < cell.last; p++) {
        const dot = v[0] * vx[p] + v[1] * vy[p] + v[2] * vz[p];
        if (dot > bestDot) { bestDot = dot; best = order[p]; }
      }
    }
    return best;
  };
  const indexOf = (run, camcol, field) => {
    let begin = 0;
    for (const [r, c, first, length] of segments) {
      if (r === run && c === camcol && field >= first && field < first + length) return begin + field - first;
      begin += length;
    }
    return -1;
  };
  const tell = (n) => {
    const line = $("sky-here");
    line.hidden = n < 0;
    if (n < 0) return;
    const s = segments[segmentOf[n]];
    const told = [...BANDS].map((name, b) => `${name} ${STATES[bandState(states[n], b)].words}`);
    const same = new Set([...BANDS].map((_, b) => bandState(states[n], b))).size === 1;
    const synthetic = s[0] > LAST_SURVEY_RUN ? " (synthetic)" : "";
    const depth = sources ? ` · ${sources[n].toLocaleString("en")} sources` : "";
    line.textContent = `${s[0]}-${s[1]}-${number[n]}${synthetic} · ${same ? `${STATES[bandState(states[n], 0)].words} in all bands` : told.join(", ")}${depth} · ${ra[n].toFixed(3)}° ${dec[n] < 0 ? "−" : "+"}${Math.abs(dec[n]).toFixed(3)}°`;
  };
  const choose = (x, y) => {
    const n = nearest(x, y);
    if (fieldPixels() >= OUTLINED) {
      if (n < 0) return;
      const s = segments[segmentOf[n]];
      location.assign(`${root}/fields/${encodeURIComponent(archive)}/${encodeURIComponent(release)}/${s[0]}/${s[1]}/${number[n]}`);
      return;
    }
    const v = under(x, y);
    if (n >= 0) go(ra[n], dec[n], Math.max(0.8, shownRadius() / 6));
    else if (v) go(...degrees(v), Math.max(0.8, shownRadius() / 6));
  };
  const pointers = new Map();
  let travelled = 0;
  const at = (event) => { const box = above.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  above.addEventListener("pointerdown", (event) => {
    journey++;
    if (!pointers.size) travelled = 0;
    pointers.set(event.pointerId, at(event)); above.setPointerCapture(event.pointerId); above.classList.add("moving");
  });
  above.addEventListener("pointermove", (event) => {
    const [x, y] = at(event), last = pointers.get(event.pointerId);
    if (!last) { const n = nearest(x, y); if (n !== hovered) { hovered = n; tell(n); redraw(); } return; }
    travelled += Math.hypot(x - last[0], y - last[1]);
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const before = Math.hypot(last[0] - other[0], last[1] - other[1]), after = Math.hypot(x - other[0], y - other[1]);
      if (before > 10) zoom(after / before, (x + other[0]) / 2, (y + other[1]) / 2);
    }
    if (travelled > 4) {
      const from = under(...last), to = under(x, y);
      if (from && to && pointers.size === 1) { pull(from, to); moved(); }
      else if (pointers.size === 1) shift(x - last[0], y - last[1]);
    }
    pointers.set(event.pointerId, [x, y]);
  });
  const up = (event) => {
    const had = pointers.delete(event.pointerId);
    if (!pointers.size) above.classList.remove("moving");
    if (had && event.type === "pointerup" && travelled <= 4 && !pointers.size) choose(...at(event));
  };
  above.addEventListener("pointerup", up);
  above.addEventListener("pointercancel", up);
  above.addEventListener("pointerleave", () => { hovered = -1; tell(-1); redraw(); });
  above.addEventListener("wheel", (event) => {
    event.preventDefault(); journey++;
    const lines = event.deltaMode === 1 ? 20 : 1;
    zoom(Math.exp(-Math.max(-150, Math.min(150, event.deltaY * lines)) * 0.003), ...at(event));
  }, {passive: false});
  const KEYS = {
    ArrowLeft: () => shift(60, 0), ArrowRight: () => shift(-60, 0), ArrowUp: () => shift(0, 60), ArrowDown: () => shift(0, -60),
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: () => go(view.ra, 0, 1000),
    Enter: () => choose(width / 2, height / 2),
  };
  above.addEventListener("keydown", (event) => {
    const act = !event.ctrlKey && !event.metaKey && !event.altKey && KEYS[event.key];
    if (!act || !cells) return;
    event.preventDefault(); journey++; act();
    const n = nearest(width / 2, height / 2);
    if (event.key !== "Enter") { hovered = n; tell(n); }
  });
  above.addEventListener("focus", redraw);
  above.addEventListener("blur", redraw);
  $("sky-in").addEventListener("click", () => zoom(1.6));
  $("sky-out").addEventListener("click", () => zoom(1 / 1.6));
  $("sky-whole").addEventListener("click", () => go(home(), 0, 1000));
  $("sky-by").addEventListener("change", async (event) => { by = event.target.value; await colourAnew(); });
  $("sky-band").addEventListener("change", async (event) => { band = event.target.value; await colourAnew(); });
  const colourAnew = async () => {
    try { await loadSources(); recolour(); } catch { say("The numbers of sources could not be read; choose again."); }
  };
  $("sky-catalogue").addEventListener("change", (event) => { location.assign(`${root}/sky?catalogue=${encodeURIComponent(event.target.value)}`); });
  $("sky-search").addEventListener("submit", async (event) => {
    if (!cells) return;  // then the server answers
    event.preventDefault();
    const text = $("sky-at").value.trim();
    if (!text) return;
    try {
      const answer = await fetch(`${base}/find?text=${encodeURIComponent(text)}`, {credentials: "same-origin"});
      const found = await answer.json();
      $("sky-said").textContent = found.words ?? found.error ?? "That could not be looked up.";
      if (found.words === undefined) return;
      if (found.field) { hovered = indexOf(...found.field); tell(hovered); }
      go(found.ra, found.dec, found.radius);
    } catch { $("sky-said").textContent = "The server did not answer; try again."; }
  });
  const home = () => {  // the right ascension opposite to the widest gap
    const seen = new Uint8Array(360);
    for (let n = 0; n < count; n += 7) seen[Math.floor(ra[n]) % 360] = 1;
    let best = 0, length = 0, run = 0;
    for (let i = 0; i < 720; i++) {
      run = seen[i % 360] ? 0 : run + 1;
      if (run > length && run <= 360) { length = run; best = i - run / 2; }
    }
    return (best + 180) % 360;
  };
  const begin = () => {
    $("sky-tools").hidden = false;
    const asked = location.hash.slice(1).split(",").map(Number), {ra: a, dec: d, radius} = frame.dataset;
    view.ra = home();
    if (asked.length === 3 && asked.every(Number.isFinite) && asked[2] > 0) go(...asked);
    else if (a) go(Number(a), Number(d), Number(radius));
    else if (cells.length && cells.length < 40) surround();
    limit(); redraw();
  };
  const surround = () => {  // a small survey: closer from the start
    let x = 0, y = 0, z = 0, least = 1;
    for (const cell of cells) { x += cell.x; y += cell.y; z += cell.z; }
    const length = Math.hypot(x, y, z) || 1;
    for (let p = 0; p < count; p++) least = Math.min(least, (vx[p] * x + vy[p] * y + vz[p] * z) / length);
    go(...degrees([x, y, z]), Math.max(0.4, 1.3 * Math.acos(Math.min(1, Math.max(-1, least))) / RAD));
  };
  new ResizeObserver(resize).observe(frame);
  new MutationObserver(recolour).observe(document.documentElement, {attributes: true, attributeFilter: ["data-theme"]});
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  inks();
  resize();
  look();
})();
