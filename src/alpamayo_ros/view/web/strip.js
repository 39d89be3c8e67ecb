// The latency strip: a bar a plan, made of its stages, the newest on the right.

export const STAGES = [
  ["preprocess", "#9db4c0"], ["vision", "#4f93b8"], ["prefill", "#4a6fd0"], ["reasoning", "#9a7fe0"],
  ["denoise", "#e4946e"],
];
const BAR_PX = 6;
const LINES = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000];

export function fitted(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return [pen, width, height];
}

export function percentile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

export function drawStrip(canvas, thoughts) {
  const [pen, width, height] = fitted(canvas);
  const left = 46;
  const shown = thoughts.slice(-Math.max(1, Math.floor((width - left) / BAR_PX)));
  const most = Math.max(1, ...shown.map((thought) => thought.total_ms));
  const top = LINES.find((line) => line >= most) || most;
  const y = (ms) => height - 1 - (height - 10) * Math.min(ms / top, 1);
  pen.font = "11px system-ui, sans-serif";
  pen.textAlign = "right";
  for (const ms of [0, top / 2, top]) {
    pen.fillStyle = "#8f9bb0";
    pen.fillText(ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`, left - 6, Math.max(9, y(ms) + (ms ? 4 : 0)));
    pen.fillStyle = "#263041";
    pen.fillRect(left, y(ms), width - left, 1);
  }
  shown.forEach((thought, number) => {
    const x = width - (shown.length - number) * BAR_PX;
    if (thought.status === "FALLBACK" || !thought.total_ms) {
      pen.fillStyle = thought.status === "FALLBACK" ? "#f2463a" : "#263041";
      pen.fillRect(x, height - 5, BAR_PX - 1, 4);
      return;
    }
    pen.fillStyle = "#5a6577";  // what the stages do not account for
    pen.fillRect(x, y(thought.total_ms), BAR_PX - 1, height - 1 - y(thought.total_ms));
    let sum = 0;
    thought.stages_ms.forEach((ms, stage) => {
      pen.fillStyle = STAGES[stage][1];
      pen.fillRect(x, y(sum + ms), BAR_PX - 1, y(sum) - y(sum + ms));
      sum += ms;
    });
  });
}
