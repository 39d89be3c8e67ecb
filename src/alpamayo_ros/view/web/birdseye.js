// The view from above: the vehicle looks up, 1 unit is 1 m. Map, actors, plan and track are in the odometry
// frame; the plan's points are in the rig frame at its t0, whose place is told with it.

import { fitted } from "./strip.js";

const AHEAD_SHARE = 0.72;  // of the height, that lies ahead of the vehicle
const TRACK_POINTS = 400;
const OLD_ACTORS_MS = 2000;
const PATH_WIDTH_M = 1.9;

export class BirdsEye {
  constructor(canvas) {
    this.canvas = canvas;
    this.reachM = 60;
    this.speedScale = [[0, "#ff8c00"], [15, "#1acc50"]];
    this.pose = this.plan = this.map = this.actors = null;
    this.track = [];
    this.pending = false;
    new ResizeObserver(() => this.redraw()).observe(canvas);
  }

  zoom(factor) {
    this.reachM = Math.min(300, Math.max(15, this.reachM * factor));
    this.redraw();
  }

  forget() {
    this.pose = this.plan = this.actors = null;
    this.track = [];
    this.redraw();
  }

  setPose(pose) {
    const last = this.track[this.track.length - 1];
    if (!last || Math.hypot(pose.x - last[0], pose.y - last[1]) > 0.5) this.track.push([pose.x, pose.y]);
    if (this.track.length > TRACK_POINTS) this.track.shift();
    this.pose = pose;
    this.redraw();
  }

  setPlan(plan) { this.plan = plan; this.redraw(); }

  setMap(map) { this.map = prepared(map); this.redraw(); }

  setActors(actors) { this.actors = prepared(actors); this.actorsAt = performance.now(); this.redraw(); }

  redraw() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => { this.pending = false; this.draw(); });
  }

  draw() {
    const [pen, width, height] = fitted(this.canvas);
    // Without odometry, the plan's own place will do.
    const ego = this.pose || (this.plan && { x: this.plan.pose[0], y: this.plan.pose[1], yaw: this.plan.pose[2] });
    const scale = height * AHEAD_SHARE / this.reachM;
    pen.translate(width / 2, height * AHEAD_SHARE);
    pen.scale(scale, -scale);
    this.drawRings(pen, scale);
    if (!ego) return;
    pen.rotate(Math.PI / 2 - ego.yaw);
    pen.translate(-ego.x, -ego.y);
    if (this.map) this.drawThings(pen, this.map);
    this.drawLine(pen, this.track, "rgba(255,214,64,.8)", 0.35);
    if (this.plan) this.drawPlan(pen, this.plan);
    const fresh = this.actors && performance.now() - this.actorsAt < OLD_ACTORS_MS;
    if (fresh) this.drawThings(pen, this.actors);
    if (!fresh || !this.actors.boxes.some((box) => box.name === "ego")) {
      this.drawBox(pen, [ego.x + 1.4 * Math.cos(ego.yaw), ego.y + 1.4 * Math.sin(ego.yaw), ego.yaw], [4.9, 1.9],
        "rgba(117,186,0,.9)");
    }
  }

  drawRings(pen, scale) {
    const step = this.reachM > 120 ? 50 : this.reachM > 40 ? 20 : 10;
    pen.lineWidth = 1 / scale;
    pen.strokeStyle = "#222c3b";
    for (let radius = step; radius < this.reachM * 1.5; radius += step) {
      pen.beginPath();
      pen.arc(0, 0, radius, 0, 2 * Math.PI);
      pen.stroke();
      pen.save();
      pen.translate(-0.8 * radius, 0.6 * radius);  // beside the road, mostly
      pen.scale(1 / scale, -1 / scale);
      pen.fillStyle = "#5f6c82";
      pen.font = "11px system-ui, sans-serif";
      pen.fillText(`${radius} m`, 4, -3);
      pen.restore();
    }
  }

  drawThings(pen, things) {
    for (const line of things.lines) {
      pen.strokeStyle = line.colour;
      pen.lineWidth = Math.max(line.width, 0.12);
      pen.stroke(line.path);
    }
    for (const box of things.boxes) this.drawBox(pen, box.pose, box.size, box.colour);
    for (const dots of things.dots) {
      pen.fillStyle = dots.colour;
      for (const [x, y] of dots.at) {
        pen.beginPath();
        pen.arc(x, y, 0.7, 0, 2 * Math.PI);
        pen.fill();
      }
    }
  }

  drawBox(pen, [x, y, yaw], [length, width], colour) {
    pen.save();
    pen.translate(x, y);
    pen.rotate(yaw);
    pen.fillStyle = colour;
    pen.fillRect(-length / 2, -width / 2, length, width);
    pen.strokeStyle = "rgba(255,255,255,.85)";
    pen.lineWidth = 0.12;
    pen.strokeRect(-length / 2, -width / 2, length, width);
    pen.fillStyle = "rgba(255,255,255,.85)";  // where it looks to
    pen.fillRect(length / 2 - Math.min(0.5, length / 4), -width / 2, Math.min(0.5, length / 4), width);
    pen.restore();
  }

  drawPlan(pen, plan) {
    pen.save();
    pen.translate(plan.pose[0], plan.pose[1]);
    pen.rotate(plan.pose[2]);
    for (const candidate of plan.candidates) this.drawLine(pen, candidate, "rgba(214,226,255,.45)", 0.25);
    // What has been driven since t0 is left out; waypoint i is at t0 + 0.1 s * i.
    const gone = this.pose ? Math.floor((this.pose.t - plan.t0) / 0.1) : 0;
    const first = Math.min(Math.max(gone, 0), plan.path.length - 1);
    const points = [[0, 0], ...plan.path].slice(first);
    pen.lineCap = "butt";
    pen.lineJoin = "round";
    this.drawLine(pen, points, plan.colour, PATH_WIDTH_M + 0.7, 0.35);
    for (let i = 1; i < points.length; i++) {
      pen.strokeStyle = this.colourOf(plan.speed[first + i]);
      pen.lineWidth = PATH_WIDTH_M * 0.7;
      pen.beginPath();
      pen.moveTo(...points[i - 1]);
      pen.lineTo(...points[i]);
      pen.stroke();
    }
    pen.restore();
  }

  drawLine(pen, points, colour, width, alpha = 1) {
    if (points.length < 2) return;
    pen.globalAlpha = alpha;
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.beginPath();
    points.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.stroke();
    pen.globalAlpha = 1;
  }

  colourOf(speed) {
    const stops = this.speedScale, value = Math.abs(speed);
    let i = 1;
    while (i < stops.length - 1 && stops[i][0] < value) i++;
    const [low, from] = stops[i - 1], [high, to] = stops[i];
    const share = Math.min(1, Math.max(0, (value - low) / (high - low)));
    const channel = (colour, k) => parseInt(colour.slice(1 + 2 * k, 3 + 2 * k), 16);
    return `rgb(${[0, 1, 2].map((k) => Math.round(channel(from, k) * (1 - share) + channel(to, k) * share))})`;
  }
}

function prepared(things) {
  for (const line of things.lines) {
    line.path = new Path2D();
    for (let i = 0; i + 3 < line.pairs.length; i += 4) {
      line.path.moveTo(line.pairs[i], line.pairs[i + 1]);
      line.path.lineTo(line.pairs[i + 2], line.pairs[i + 3]);
    }
  }
  return things;
}
