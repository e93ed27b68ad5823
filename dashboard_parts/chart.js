// Draws the chart of the page with TradingView's lightweight-charts, and keeps it while new data comes.
const MARKS = {
  BUY: ["arrowUp", "up", "below"],
  SELL: ["arrowDown", "down", "above"],
  ANOMALY: ["◆", "mark", "above"], // the library has no such shape: a text stands for it
  RULE: ["circle", "mark", "below"],
};

function library() {
  globalThis.lightweightCharts ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL("lightweight-charts.js", document.baseURI);
    script.onload = () => resolve(globalThis.LightweightCharts);
    script.onerror = () => reject(new Error("The chart's library did not load. Reload the page."));
    document.head.append(script);
  });
  return globalThis.lightweightCharts;
}

export default function ({ data, parentElement: root }) {
  root.data = data; // the newest, if the library is still loading
  root.querySelector(".chart").ariaLabel = data.label;
  library().then(
    (charts) => root.data && draw(charts, root),
    (error) => (root.querySelector(".legend").textContent = error.message),
  );
  return () => {
    root.view?.chart.remove();
    root.view = root.data = null;
  };
}

function draw(charts, root) {
  const { data } = root;
  if (root.view?.id !== data.id) {
    root.view?.chart.remove();
    root.view = build(charts, root);
  }
  const { view } = root;
  const rows = withGaps(data.rows.map((row) => ({ top: row.high, bottom: row.low, ...row })), data.seconds);
  const isOlder = view.rows.length === 0 || rows[0].time < view.rows[0].time;
  const isRestyled = view.colours !== JSON.stringify(data.colours);
  if (isRestyled) style(view, data);
  if (isOlder || isRestyled) {
    const kept = view.rows.filter((row) => row.time < rows[0].time);
    view.rows = kept.concat(rows);
    for (const { series, point } of view.layers) series.setData(view.rows.map(point));
  } else {
    const news = rows.filter((row) => row.time >= view.rows.at(-1).time);
    view.rows = view.rows.filter((row) => row.time < news[0]?.time).concat(news);
    for (const { series, point } of view.layers) for (const row of news) series.update(point(row));
  }
  if (view.isNew) view.chart.timeScale().fitContent();
  view.isNew = false;
  view.marks.setMarkers(view.rows.flatMap((row) => marksOf(row, data.colours)));
  if (view.at != null) point(view, view.at);
  say(root);
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
  return Object.entries(row.signals ?? {}).map(([kind, count]) => {
    const [shape, colour, side] = MARKS[kind];
    const price = side === "above" ? row.top : row.bottom;
    const isWhole = price === (side === "above" ? row.high : row.low); // else its wick is cut: mark the cut
    const position = isWhole ? `${side}Bar` : side === "above" ? "atPriceTop" : "atPriceBottom";
    const number = count > 1 ? `${count}` : "";
    const look = shape === "◆" ? { shape: "circle", size: 0, text: `◆${number}` } : { shape, text: number };
    return { time: row.time, position, price, color: colours[colour], ...look };
  });
}

function build(charts, root) {
  const { data } = root;
  const box = root.querySelector(".chart");
  const chart = charts.createChart(box, {
    autoSize: true,
    rightPriceScale: { scaleMargins: { top: 0.12, bottom: 0.26 }, borderVisible: false },
    timeScale: {
      timeVisible: data.seconds < 86400,
      secondsVisible: data.seconds < 60,
      maxBarSpacing: 40,
      borderVisible: false,
    },
    crosshair: { mode: charts.CrosshairMode.Normal },
  });
  const quiet = { lastValueVisible: false, priceLineVisible: false };
  const average = { ...quiet, lineWidth: 1, crosshairMarkerVisible: false, autoscaleInfoProvider: () => null };
  const priceFormat = { type: "price", precision: data.decimals, minMove: 10 ** -data.decimals };
  const kind = data.isLine ? charts.LineSeries : charts.CandlestickSeries;
  const price = chart.addSeries(kind, { priceFormat, autoscaleInfoProvider: (whole) => scaleOf(root.view, whole) });
  const short = chart.addSeries(charts.LineSeries, average);
  const long = chart.addSeries(charts.LineSeries, { ...average, lineStyle: charts.LineStyle.Dashed });
  const volume = chart.addSeries(charts.HistogramSeries, { ...quiet, priceScaleId: "volume" });
  chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.83, bottom: 0 } });
  const view = { id: data.id, chart, price, short, long, volume, rows: [], isNew: true, colours: "" };
  const bare = ({ time }) => ({ time });
  const value = (name) => (row) => (row[name] == null ? bare(row) : { time: row.time, value: row[name] });
  const bar = (row) => {
    const colour = row.close >= row.open ? view.up : view.down;
    return row.close == null ? bare(row) : { time: row.time, value: row.volume, color: `${colour}99` };
  };
  const candle = (row) => (row.close == null ? bare(row) : row);
  view.layers = [
    { series: price, point: data.isLine ? value("close") : candle },
    { series: short, point: value("short") },
    { series: long, point: value("long") },
    { series: volume, point: bar },
  ];
  view.marks = charts.createSeriesMarkers(price, []);
  chart.subscribeCrosshairMove(({ logical, sourceEvent }) => {
    if (sourceEvent) view.at = view.rows[logical]?.close == null ? null : logical;
    say(root);
  });
  box.onkeydown = (event) => press(root, event);
  // Without a key held down, the wheel scrolls the page.
  box.addEventListener("wheel", (e) => e.ctrlKey || e.shiftKey || e.stopPropagation(), { capture: true });
  return view;
}

function style(view, { colours }) {
  view.colours = JSON.stringify(colours);
  [view.up, view.down] = [colours.up, colours.down];
  const lines = { color: colours.grid };
  view.chart.applyOptions({
    layout: { background: { color: "transparent" }, textColor: colours.text, fontFamily: "inherit" },
    grid: { horzLines: lines, vertLines: lines },
  });
  const [upColor, downColor] = [colours.up, colours.down];
  const wicks = { wickUpColor: upColor, wickDownColor: downColor, borderVisible: false };
  view.price.applyOptions({ upColor, downColor, color: upColor, ...wicks });
  view.short.applyOptions({ color: colours.short });
  view.long.applyOptions({ color: colours.long });
}

// The price scale shows what `limit_wicks` has left of the candles in view.
function scaleOf(view, whole) {
  const range = view?.chart.timeScale().getVisibleLogicalRange();
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
  if (step) {
    let at = (view.at ?? view.rows.length) + step;
    while (view.rows[at] && view.rows[at].close == null) at += step;
    if (view.rows[at]) point(view, at);
    const off = view.at < from ? view.at - from - 1 : view.at > to ? view.at - to + 1 : 0;
    if (off) scale.setVisibleLogicalRange({ from: from + off, to: to + off });
  } else if (factor) {
    const middle = view.at ?? to;
    scale.setVisibleLogicalRange({ from: middle - (middle - from) * factor, to: middle + (to - middle) * factor });
  } else if (event.key === "0") scale.fitContent();
  else return;
  event.preventDefault();
  say(root);
}

function point(view, at) {
  view.at = at;
  view.chart.setCrosshairPosition(view.rows[at].close, view.rows[at].time, view.price);
}

function say(root) {
  const { view, data } = root;
  const row = view.rows[view.at] ?? view.rows.findLast((row) => row.close != null);
  if (!row) return;
  const digits = { minimumFractionDigits: data.decimals, maximumFractionDigits: data.decimals };
  const price = (value) => value?.toLocaleString(undefined, digits) ?? "–";
  const time = new Date(row.time * 1000).toLocaleString(undefined, { ...data.time, timeZone: "UTC" });
  const parts = [[time], [`O ${price(row.open)} H ${price(row.high)} L ${price(row.low)} C ${price(row.close)}`]];
  parts.push([`${data.names[0]} ${price(row.short)}`, "short"], [`${data.names[1]} ${price(row.long)}`, "long"]);
  parts.push([`V ${Math.round(row.volume).toLocaleString()}`], [row.alerts ?? "", "mark"]);
  const spans = parts.map(([text, colour]) => {
    const span = document.createElement("span");
    span.textContent = text;
    if (colour) span.style.color = data.colours[colour];
    return span;
  });
  root.querySelector(".legend").replaceChildren(...spans);
}
