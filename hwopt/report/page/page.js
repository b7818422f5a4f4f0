"use strict";
// Draws the figures of the page from its data, as they come into view, in the reader's colours.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 640px)");
  // colours of the figures -> the same on a dark ground
  const onDark = {
    "#0072b2": "#4dabe8", "#d55e00": "#ff8c42", "#009e73": "#2fc99b", "#cc79a7": "#e79cc5", "#e69f00": "#f2b632",
    "#56b4e9": "#9ad5ff", "#7f7f7f": "#8d949c", "#333333": "#e6e6e6", "#8a6d3b": "#c9a66b", "#5b5ea6": "#9a9de0",
    "#e6e6e6": "#2d3238", white: "#15181c", "rgba(255,255,255,0.75)": "rgba(21,24,28,0.75)",
  };
  const config = {
    displaylogo: false, responsive: true, showSendToCloud: false, plotlyServerURL: "",
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d"]],
  };
  const blocks = [...document.querySelectorAll("section.block")];
  const study = document.getElementById("study");
  const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const studyKey = () => (study ? study.value : "0");

  function keyOf(section) {
    const block = data.blocks[section.dataset.block];
    const chosen = [...section.querySelectorAll("select[data-choice]")].map((select) => select.value);
    return [...(block.isOfStudy ? [studyKey()] : []), ...chosen].join("|");
  }

  // -- figures

  function recoloured(value) {
    if (typeof value === "string") return onDark[value.toLowerCase()] ?? value;
    if (Array.isArray(value)) return typeof value[0] === "object" || value.some?.((v) => v in onDark) ? value.map(recoloured) : value;
    if (value && typeof value === "object" && !value.bdata)
      return Object.fromEntries(Object.entries(value).map(([key, own]) => [key, recoloured(own)]));
    return value;
  }

  function withTooltips(trace) {
    if (trace.meta === undefined) return trace;
    const texts = data.texts[data.studies.indexOf(trace.meta)];
    const numbers = trace.customdata.bdata ? decoded(trace.customdata) : trace.customdata;
    return { ...trace, hovertext: Array.from(numbers, (number) => texts[number].map(escaped).join("<br>")) };
  }

  function decoded(array) {
    const bytes = Uint8Array.from(atob(array.bdata), (c) => c.charCodeAt(0)).buffer;
    const kinds = { i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array, f8: Float64Array };
    return new kinds[array.dtype](bytes);
  }

  function layoutOf(figure, isDark) {
    const ink = isDark ? "#e6e6e6" : "#1c1c1c", paper = isDark ? "#15181c" : "#ffffff", panel = isDark ? "#262b31" : "#ffffff";
    const layout = isDark ? recoloured(figure.layout) : structuredClone(figure.layout);
    layout.paper_bgcolor = layout.plot_bgcolor = paper;
    layout.font = { ...layout.font, color: ink };
    layout.hoverlabel = { ...layout.hoverlabel, bgcolor: panel, bordercolor: isDark ? "#5a626b" : "#8a8a8a", font: { color: ink, size: narrow.matches ? 10 : 12 } };
    layout.autosize = true;
    layout.height = layout.height ?? (narrow.matches ? 460 : 560);
    return layout;
  }

  // on the page titles are text, which fits any window
  function onPage(layout, place) {
    const { title, ...rest } = layout, least = layout.meta?.minWidth ?? 0;
    rest.margin = { ...rest.margin, t: 30, ...(narrow.matches ? { l: 44, r: 8 } : {}) };
    if (narrow.matches) rest.legend = { ...rest.legend, font: { size: 10 } };
    if (place.clientWidth < least) Object.assign(rest, { width: least, autosize: false });
    return rest;
  }

  const caption = (layout) => [layout.title?.text, layout.title?.subtitle?.text].filter(Boolean).map(unescaped).join(". ");
  const unescaped = (text) => text.replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");

  function prepared(figure, isDark) {
    const traces = figure.data.map(withTooltips);
    return { data: isDark ? traces.map(recoloured) : traces, layout: layoutOf(figure, isDark) };
  }

  function draw(section) {
    const block = data.blocks[section.dataset.block], key = keyOf(section), place = section.querySelector(".figure");
    const figure = block.figures[key];
    const notes = block.notes[key] ?? [];
    const ofStudy = key.includes("|") ? block.notes[studyKey()] ?? [] : [];
    section.querySelector(".notes").replaceChildren(...[...notes, ...ofStudy].map((text) => element("li", text)));
    const of = section.querySelector(".of");
    if (of) of.textContent = `of ${data.studies[Number(studyKey())]}`;
    if (!place) return;
    for (const part of [place, ...section.querySelectorAll(".caption, .controls")]) part.hidden = !figure;
    if (!figure) return Plotly.purge(place);
    const { data: traces, layout } = prepared(figure, dark.matches);
    section.querySelector(".caption").textContent = caption(layout);
    Plotly.react(place, traces, onPage(layout, place), config).then(() => {
      section.dataset.drawn = key;
      place.removeAllListeners?.("plotly_click");
      place.on("plotly_click", (event) => picked(event.points[0]));
    });
  }

  function element(tag, text) {
    const made = document.createElement(tag);
    made.textContent = text;
    return made;
  }

  // -- choices

  function fill(section) {
    const block = data.blocks[section.dataset.block];
    block.choices.forEach((choice) => {
      const select = section.querySelector(`select[data-choice="${choice.name}"]`), before = select.value;
      const options = choice.options[studyKey()] ?? choice.options[""] ?? [];
      select.replaceChildren(...options.map(([value, label]) => new Option(label, value)));
      if (options.some(([value]) => value === before)) select.value = before;
      select.parentElement.hidden = options.length < 2 && choice.name !== "network";
    });
  }

  function picked(point) {
    const trace = point.data, number = point.customdata;
    if (trace.meta === undefined || number === undefined) return;
    const position = data.studies.indexOf(trace.meta), box = document.querySelector(".picked");
    const [heading, ...lines] = data.texts[position][number];
    box.hidden = false;
    box.querySelector("h3").textContent = data.studies.length > 1 ? `${trace.meta}: ${heading}` : heading;
    box.querySelector("ul").replaceChildren(...lines.map((line) => element("li", line)));
    if (study && study.value !== String(position)) {
      study.value = String(position);
      study.dispatchEvent(new Event("change"));
    }
    const layers = document.querySelector('select[data-choice="network"]');
    if ([...layers.options].some((option) => option.value === String(number))) {
      layers.value = String(number);
      layers.dispatchEvent(new Event("change"));
    }
  }

  // -- saving

  function save(section, kind) {
    const block = data.blocks[section.dataset.block], key = keyOf(section);
    const name = `${section.dataset.block}${key ? "_" + key : ""}`.replace(/[^\w.-]+/g, "_");
    if (kind === "csv") {
      const table = block.tables[key];
      const text = table.startsWith("=") ? block.tables[table.slice(1)] : table;
      return download(URL.createObjectURL(new Blob([text], { type: "text/csv" })), `${name}.csv`);
    }
    const figure = prepared(block.figures[key], false);
    const size = { width: 1000, height: figure.layout.height, scale: kind === "png" ? 2 : 1, format: kind };
    return Plotly.toImage(figure, size).then((image) => download(image, `${name}.${kind}`));
  }

  function download(href, name) {
    const link = Object.assign(document.createElement("a"), { href, download: name });
    link.click();
  }

  // -- start

  const shown = new Set();
  const redraw = () => shown.forEach(draw);
  const observer = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting || shown.has(target)) continue;
      shown.add(target);
      draw(target);
    }
  }, { rootMargin: "300px" });
  blocks.forEach((section) => {
    fill(section);
    section.addEventListener("change", (event) => event.target.matches("select") && draw(section));
    section.addEventListener("click", (event) => event.target.dataset.save && save(section, event.target.dataset.save));
    observer.observe(section);
  });
  study?.addEventListener("change", () => {
    blocks.forEach(fill);
    document.querySelectorAll(".front").forEach((table) => (table.hidden = table.dataset.study !== studyKey()));
    redraw();
  });
  dark.addEventListener("change", redraw);
  narrow.addEventListener("change", redraw);
  window.addEventListener("beforeprint", () => blocks.forEach((section) => (shown.add(section), draw(section))));

  // -- a page that is served while the study runs asks its server whether there is something new
  if (data.version !== null) {
    const kept = JSON.parse(sessionStorage.getItem("hwopt") ?? "null");
    if (kept) {
      if (study) {
        study.value = kept.study;
        study.dispatchEvent(new Event("change"));
      }
      blocks.forEach((section, i) => {
        fill(section);
        [...section.querySelectorAll("select[data-choice]")].forEach((select, j) => {
          if ([...select.options].some((option) => option.value === kept.chosen[i]?.[j])) select.value = kept.chosen[i][j];
        });
      });
      window.scrollTo(0, kept.scroll);
    }
    const timer = setInterval(async () => {
      const found = await fetch("version").then((answer) => (answer.ok ? answer.text() : null)).catch(() => null);
      if (found === null || found === data.version) return;
      clearInterval(timer);  // once: the next page may take a while
      const chosen = blocks.map((section) => [...section.querySelectorAll("select[data-choice]")].map((select) => select.value));
      sessionStorage.setItem("hwopt", JSON.stringify({ study: studyKey(), chosen, scroll: window.scrollY }));
      location.reload();
    }, 2000);
  }
})();
