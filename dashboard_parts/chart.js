// Draws the chart of the page with TradingView's lightweight-charts, and keeps it while new data comes.
const MARKS = {
  BUY: ["arrowUp", "up", "below"],
  SELL: ["arrowDown", "down", "above"],
  ANOMALY: ["◆", "mark", "above"], // the library has no such shape: a text stands for it
  RULE: ["circle", "mark", "below"],
};

export default function ({ data, parentElement: root }) {
  root.data = data; // the newest, if the library is still loading
  root.querySelector(".chart").ariaLabel = data.label;
  import(new URL("lightweight-charts.js", document.baseURI)).then(
    () => root.data && draw(root),
    () => (root.querySelector(".legend").textContent = "The chart's library did not load. Reload the page."),
  );
  return () => {
    root.view?.chart.remove();
    root.view = root.data = null;
  };
}

function draw(root) {
  const { data, view: old } = root;
  const isSame = old?.id === data.id;
  if (isSame && old.look === JSON.stringify(data.look)) setRows(old, data);
  else {
    // Another look leaves the crosshair where it is, and the part that somebody has chosen to see.
    const range = isSame && old.isChosen && old.chart.timeScale().getVisibleRange();
    old?.chart.remove();
    root.view = build(root);
    if (isSame) Object.assign(root.view, { at: old.at, isChosen: old.isChosen });
    setRows(root.view, data);
    const scale = root.view.chart.timeScale();
    range ? scale.setVisibleRange(range) : scale.fitContent();
  }
  root.view.marks.setMarkers(root.view.rows.flatMap((row) => marksOf(row, data.look.colours)));
  point(root.view, root.view.at);
  say(root);
}

// Most often the last row alone is new or has changed, which costs least. Rows that the range has passed stay.
function setRows(view, data) {
  const whole = data.rows.map((row) => ({ top: row.high, bottom: row.low, ...row }));
  const rows = withGaps(whole, data.look.seconds);
  const known = view.rows.map((row) => JSON.stringify(row));
  view.rows = view.rows.filter((row) => row.time < rows[0].time).concat(rows);
  const changed = known.findIndex((row, place) => row !== JSON.stringify(view.rows[place]));
  const first = changed < 0 ? known.length : changed; // of the changed and new rows
  const isUpdate = known.length && first >= known.length - 1 && view.rows.length >= known.length;
  for (const { series, point } of view.layers) {
    if (isUpdate) for (const row of view.rows.slice(first)) series.update(point(row));
    else series.setData(view.rows.map(point));
  }
}

// A gap within a session is seen. A night, longer than two hours, is not.
function withGaps(rows, seconds) {
  return rows.flatMap((row, index) => {
    const gap = index ? row.time - rows[index - 1].time : 0;
    const empty = gap <= 7200 ? Math.max(Math.round(gap / seconds) - 1, 0) : 0;
    return [...Array.from({ length: empty }, (_, n) => ({ time: row.time - (empty - n) * seconds })), row];
  });
}

function marksOf(row, colours) {
  return Object.entries(MARKS).filter(([kind]) => row[kind]).map(([kind, [shape, colour, side]]) => {
    const count = row[kind];
    const price = side === "above" ? row.top : row.bottom;
    const isWhole = price === (side === "above" ? row.high : row.low); // else its wick is cut: mark the cut
    const position = isWhole ? `${side}Bar` : side === "above" ? "atPriceTop" : "atPriceBottom";
    const number = count > 1 ? `${count}` : "";
    const look = shape === "◆" ? { shape: "circle", size: 0, text: `◆${number}` } : { shape, size: 0.7, text: number };
    return { time: row.time, position, price, color: colours[colour], ...look };
  });
}

function build(root) {
  const { data } = root;
  const { isLine, seconds, colours } = data.look;
  const { up, down, short, long, text, grid } = colours;
  const { createChart, createSeriesMarkers, CandlestickSeries, HistogramSeries, LineSeries } = LightweightCharts;
  const box = root.querySelector(".chart");
  const chart = createChart(box, {
    autoSize: true,
    layout: { background: { color: "transparent" }, textColor: text, fontFamily: "inherit" },
    grid: { horzLines: { color: grid }, vertLines: { color: grid } },
    rightPriceScale: { scaleMargins: { top: 0.16, bottom: 0.26 }, borderVisible: false },
    timeScale: {
      timeVisible: seconds < 86400,
      secondsVisible: seconds < 60,
      maxBarSpacing: 40,
      rightOffset: 2, // room for the last time on the axis
      borderVisible: false,
    },
    crosshair: { mode: LightweightCharts.CrosshairMode.Normal },
  });
  const quiet = { lastValueVisible: false, priceLineVisible: false };
  const average = { ...quiet, lineWidth: 1, crosshairMarkerVisible: false, autoscaleInfoProvider: () => null };
  const add = (kind, options, point) => ({ series: chart.addSeries(kind, options), point });
  const value = (name) => (row) => ({ time: row.time, value: row[name] });
  const bar = (row) => ({ ...value("volume")(row), color: `${row.close >= row.open ? up : down}99` });
  const price = add(
    isLine ? LineSeries : CandlestickSeries,
    {
      ...{ color: up, upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false },
      priceFormat: { type: "price", precision: data.decimals, minMove: 10 ** -data.decimals },
      autoscaleInfoProvider: (whole) => scaleOf(view, whole),
    },
    isLine ? value("close") : (row) => row,
  );
  const layers = [
    price,
    add(LineSeries, { ...average, color: short }, value("short")),
    add(LineSeries, { ...average, color: long, lineStyle: LightweightCharts.LineStyle.Dashed }, value("long")),
    add(HistogramSeries, { ...quiet, priceScaleId: "volume" }, bar),
  ];
  chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.83, bottom: 0 } });
  const marks = createSeriesMarkers(price.series, []);
  const look = JSON.stringify(data.look);
  const view = { id: data.id, look, chart, price: price.series, marks, layers, rows: [], at: null };
  chart.subscribeCrosshairMove(({ logical, sourceEvent }) => {
    if (sourceEvent) view.at = view.rows[logical]?.close == null ? null : view.rows[logical].time;
    say(root);
  });
  box.onkeydown = (event) => press(root, event);
  box.onpointerdown = () => (view.isChosen = true);
  // Without a key held down, the wheel scrolls the page.
  const turn = (e) => (e.ctrlKey || e.shiftKey ? (view.isChosen = true) : e.stopPropagation());
  chart.chartElement().addEventListener("wheel", turn, { capture: true });
  return view;
}

// The price scale shows what `limit_wicks` has left of the candles in view.
function scaleOf(view, whole) {
  const range = view.chart.timeScale().getVisibleLogicalRange();
  const seen = range ? view.rows.slice(Math.max(Math.ceil(range.from), 0), Math.floor(range.to) + 1) : [];
  const rows = seen.filter((row) => row.close != null);
  if (!rows.length) return whole();
  const minValue = Math.min(...rows.map((row) => row.bottom));
  return { priceRange: { minValue, maxValue: Math.max(...rows.map((row) => row.top)) } };
}

// Arrow keys move the crosshair, + and - zoom, 0 shows all.
function press(root, event) {
  const { view } = root;
  const scale = view.chart.timeScale();
  const { from, to } = scale.getVisibleLogicalRange();
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const factor = { "+": 0.8, "=": 0.8, "-": 1.25 }[event.key];
  let at = placeOf(view);
  if (step) {
    do at = (at ?? view.rows.length) + step;
    while (view.rows[at] && view.rows[at].close == null);
    if (!view.rows[at]) return;
    point(view, view.rows[at].time);
    const off = at < from ? at - from - 1 : at > to ? at - to + 1 : 0;
    if (off) scale.setVisibleLogicalRange({ from: from + off, to: to + off });
  } else if (factor) {
    const middle = at ?? to;
    scale.setVisibleLogicalRange({ from: middle - (middle - from) * factor, to: middle + (to - middle) * factor });
  } else if (event.key === "0") scale.fitContent();
  else return;
  view.isChosen = event.key !== "0";
  event.preventDefault();
  say(root);
}

// The place of the candle at the crosshair, which may have become wider.
function placeOf(view) {
  const place = view.rows.findLastIndex((row) => row.time <= view.at && row.close != null);
  return view.at == null || place < 0 ? null : place;
}

function point(view, time) {
  view.at = time;
  const row = view.rows[placeOf(view)];
  if (row) view.chart.setCrosshairPosition(row.close, row.time, view.price);
}

function say(root) {
  const { view, data } = root;
  const { names, colours } = data.look;
  const row = view.rows[placeOf(view)] ?? view.rows.findLast((row) => row.close != null);
  if (!row) return;
  const digits = { minimumFractionDigits: data.decimals, maximumFractionDigits: data.decimals };
  const price = (value) => value?.toLocaleString(undefined, digits) ?? "–";
  const time = new Date(row.time * 1000).toLocaleString(undefined, { ...data.time, timeZone: "UTC" });
  const parts = [[time], [`O ${price(row.open)} H ${price(row.high)} L ${price(row.low)} C ${price(row.close)}`]];
  parts.push([`${names[0]} ${price(row.short)}`, "short"], [`${names[1]} ${price(row.long)}`, "long"]);
  parts.push([`V ${Math.round(row.volume).toLocaleString()}`], [row.alerts ?? "", "mark"]);
  const spans = parts.map(([text, colour]) => {
    const span = document.createElement("span");
    span.textContent = text;
    if (colour) span.style.color = colours[colour];
    return span;
  });
  root.querySelector(".legend").replaceChildren(...spans);
}
