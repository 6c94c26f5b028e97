// The 3D views of a report: each <figure class="view3d"> holds its data as JSON, its controls and a still picture.
// Positions are R, A, S in mm about the middle; the projection is parallel, so that the scale bar is true everywhere.
"use strict";

const VIEWS = { front: [0, 1, 0], back: [0, -1, 0], "patient's left": [-1, 0, 0], "patient's right": [1, 0, 0],
  above: [0, -0.001, 1], below: [0, 0.001, -1] }; // the front is on top
const SIDES = [["L", "R"], ["P", "A"], ["I", "S"]];
const INDICES = { 2: Uint16Array, 4: Uint32Array }; // by bytes
const BREATH_MS = 4000, BREATH_STEP_MS = 40; // as an adult at rest breathes
const FRAME_MS = 150; // of a breath that plays: ten frames there and back in three seconds
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function numbers(text, Kind) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Kind(bytes.buffer);
}

function colorAt(colors, share) {
  const at = Math.min(Math.max(share, 0), 1) * (colors.length - 1);
  const low = Math.floor(at), high = Math.min(low + 1, colors.length - 1);
  return new THREE.Color(colors[low]).lerp(new THREE.Color(colors[high]), at - low);
}

class Part {
  // A surface or a cloud of points, in its own colour or coloured by one of its values.
  constructor(data) {
    this.data = data;
    this.geometry = new THREE.BufferGeometry();
    this.geometry.setAttribute("position", new THREE.BufferAttribute(this.places(data.positions), 3));
    this.frames = (data.frames || []).map((frame) => this.places(frame));
    this.rest = this.geometry.getAttribute("position").array.slice();
    this.ends = (data.ends || []).map((end) => this.places(end));
    this.object = data.faces ? this.surface() : this.cloud();
    this.object.visible = data.shown;
  }

  places(text) {
    const { low, step } = this.data;
    return Float32Array.from(numbers(text, Uint16Array), (steps, i) => low[i % 3] + steps * step[i % 3]);
  }

  moveTo(frame) {
    if (this.frames.length) this.place(this.frames[frame]);
  }

  slide(weights) {
    if (!this.ends.length) return;
    const moved = this.rest.slice();
    weights.forEach((weight, number) => {
      const end = this.ends[number];
      if (weight) for (let i = 0; i < moved.length; i++) moved[i] += weight * (end[i] - this.rest[i]);
    });
    this.place(moved);
  }

  place(points) {
    const positions = this.geometry.getAttribute("position");
    positions.array.set(points);
    positions.needsUpdate = true;
    if (this.data.faces) this.geometry.computeVertexNormals();
    this.geometry.computeBoundingSphere();
  }

  surface() {
    this.geometry.setIndex(new THREE.BufferAttribute(numbers(this.data.faces, INDICES[this.data.index_bytes]), 1));
    this.geometry.computeVertexNormals();
    const isClear = this.data.opacity < 1;
    const material = new THREE.MeshPhongMaterial({ color: this.data.color, shininess: 12, specular: 0x222222,
      transparent: isClear, opacity: this.data.opacity, depthWrite: !isClear });
    const mesh = new THREE.Mesh(this.geometry, material);
    mesh.renderOrder = isClear ? 1 : 0;
    return mesh;
  }

  cloud() {
    return new THREE.Points(this.geometry, new THREE.PointsMaterial({ color: this.data.color, size: 3 }));
  }

  colorBy(coloring) {
    const values = coloring && this.data.values[coloring.name];
    const material = this.object.material;
    material.vertexColors = Boolean(values);
    material.color.set(values ? "#ffffff" : this.data.color);
    if (values) {
      const table = Array.from({ length: 256 }, (_, i) => colorAt(coloring.colors, i / 255));
      const colors = new Float32Array(Array.from(numbers(values, Uint8Array), (i) => table[i].toArray()).flat());
      this.geometry.setAttribute("color", new THREE.BufferAttribute(colors, 3));
    }
    material.needsUpdate = true;
  }
}

class View3D {
  constructor(figure) {
    this.figure = figure;
    this.data = JSON.parse(figure.querySelector("script").textContent);
    this.stage = figure.querySelector(".stage");
    this.renderer = new THREE.WebGLRenderer({ antialias: true });
    this.canvas = this.renderer.domElement;
    this.scene = new THREE.Scene();
    this.camera = new THREE.OrthographicCamera(-1, 1, 1, -1, 0.1, 6000);
    this.camera.up.set(0, 0, 1);
    this.build();
    this.bind();
    figure.classList.add("live");
    this.look("front");
    new ResizeObserver(() => this.resize()).observe(this.stage);
  }

  build() {
    this.renderer.setClearColor(0xffffff);
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, 2));
    this.parts = this.data.parts.map((data) => new Part(data));
    for (const part of this.parts) this.scene.add(part.object);
    const light = new THREE.DirectionalLight(0xffffff, 2.0);
    light.position.set(0.4, 0.6, 1);
    this.camera.add(light);
    this.scene.add(this.camera, new THREE.AmbientLight(0xffffff, 1.3));
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-label", this.data.label);
    this.stage.prepend(this.canvas);
    this.controls = new THREE.OrbitControls(this.camera, this.canvas);
    this.controls.enableZoom = false; // the wheel scrolls the page until the picture has been clicked
    this.canvas.style.touchAction = "pan-y"; // and a finger that moves up scrolls it
  }

  bind() {
    const find = (selector) => this.figure.querySelectorAll(selector);
    this.controls.addEventListener("change", () => this.draw());
    this.canvas.addEventListener("pointerdown", () => this.canvas.focus({ preventScroll: true }));
    this.canvas.addEventListener("focus", () => { this.controls.enableZoom = true; });
    this.canvas.addEventListener("blur", () => { this.controls.enableZoom = false; });
    this.canvas.addEventListener("keydown", (event) => this.press(event));
    for (const box of find("input[data-part]"))
      box.addEventListener("change", () => { this.parts[box.dataset.part].object.visible = box.checked; this.draw(); });
    for (const choice of find("select")) choice.addEventListener("change", () => this.colorBy(choice.value));
    for (const button of find("button[data-view]"))
      button.addEventListener("click", () => this.look(button.dataset.view));
    for (const button of find("button.save")) button.addEventListener("click", () => this.save());
    if (this.data.frames.length) this.bindPlayer();
    if (this.data.sliders.length) this.bindSliders();
    window.addEventListener("beforeprint", () => this.still());
    if (this.data.colorings.length) this.colorBy(find("select")[0].value);
  }

  bindPlayer() {
    this.slider = this.figure.querySelector("input.frame");
    this.playButton = this.figure.querySelector("button.play");
    this.way = 1;
    this.slider.addEventListener("input", () => this.show(Number(this.slider.value)));
    this.playButton.addEventListener("click", () => (this.timer ? this.pause() : this.play()));
    this.show(0);
  }

  bindSliders() {
    this.sliders = [...this.figure.querySelectorAll("input[data-slider]")];
    for (const input of this.sliders) input.addEventListener("input", () => this.slide());
    this.figure.querySelector("button.rest").addEventListener("click", () => {
      this.data.sliders.forEach((slider, number) => { this.sliders[number].value = slider.rest; });
      this.slide();
    });
    for (const button of this.figure.querySelectorAll("button.breathe"))
      button.addEventListener("click", () => this.breathe(button));
    this.slide();
  }

  slide() {
    const weights = this.data.sliders.flatMap((slider, number) => {
      const value = Number(this.sliders[number].value);
      this.sliders[number].parentElement.querySelector("output").textContent = String(Number(value.toPrecision(4)));
      return slider.ends.map((end) => Math.max(0, (value - slider.rest) / (end - slider.rest)));
    });
    for (const part of this.parts) part.slide(weights);
    this.draw();
  }

  breathe(button) {
    const input = button.parentElement.querySelector("input"), started = performance.now();
    const slider = this.data.sliders[input.dataset.slider];
    const plays = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(plays));
    button.textContent = plays ? "pause" : "play";
    window.clearInterval(this.breath);
    if (plays) this.breath = window.setInterval(() => {
      const share = (1 - Math.cos((performance.now() - started) * 2 * Math.PI / BREATH_MS)) / 2;
      input.value = slider.rest + share * (slider.ends[0] - slider.rest);
      this.slide();
    }, BREATH_STEP_MS);
  }

  show(frame) {
    this.slider.value = frame;
    this.figure.querySelector(".player output").textContent = this.data.frames[frame];
    for (const part of this.parts) part.moveTo(frame);
    this.draw();
  }

  play() {
    this.timer = window.setInterval(() => this.step(), FRAME_MS);
    this.playButton.textContent = "pause";
    this.playButton.setAttribute("aria-pressed", "true");
  }

  pause() {
    window.clearInterval(this.timer);
    this.timer = null;
    this.playButton.textContent = "play";
    this.playButton.setAttribute("aria-pressed", "false");
  }

  step() {
    const last = this.data.frames.length - 1, now = Number(this.slider.value);
    if (!this.data.swings) return this.show(now === last ? 0 : now + 1);
    if (now + this.way > last || now + this.way < 0) this.way = -this.way;
    return this.show(now + this.way);
  }

  press(event) {
    const turn = KEYS[event.key];
    if (turn) this.turn(turn[0] * 0.12, turn[1] * 0.12);
    else if (event.key === "+" || event.key === "=") this.zoom(1.15);
    else if (event.key === "-") this.zoom(1 / 1.15);
    else if (event.key === "0") this.look("front");
    else return;
    event.preventDefault();
  }

  turn(across, up) {
    const offset = this.camera.position;
    const tilt = Math.acos(offset.z / offset.length());
    const wanted = Math.min(Math.max(tilt + up, 0.01), Math.PI - 0.01);
    const axis = new THREE.Vector3(0, 0, 1).cross(offset).normalize();
    offset.applyAxisAngle(axis, wanted - tilt).applyAxisAngle(new THREE.Vector3(0, 0, 1), across);
    this.controls.update();
    this.draw();
  }

  zoom(factor) {
    this.camera.zoom = Math.min(Math.max(this.camera.zoom * factor, 0.3), 40);
    this.camera.updateProjectionMatrix();
    this.draw();
  }

  look(view) {
    this.controls.target.set(0, 0, 0);
    this.camera.position.set(...VIEWS[view]).normalize().multiplyScalar(3000);
    this.camera.zoom = 1;
    this.camera.updateProjectionMatrix();
    this.controls.update();
    this.resize();
  }

  colorBy(name) {
    const coloring = this.data.colorings.find((each) => each.name === name);
    for (const part of this.parts) part.colorBy(coloring);
    for (const legend of this.figure.querySelectorAll(".legend")) legend.hidden = legend.dataset.name !== name;
    this.draw();
  }

  resize() {
    const width = this.stage.clientWidth, height = this.stage.clientHeight;
    if (!width || !height) return;
    this.renderer.setSize(width, height);
    const half = this.data.radius * 1.05, aspect = width / height;
    const [right, top] = aspect > 1 ? [half * aspect, half] : [half, half / aspect];
    Object.assign(this.camera, { left: -right, right, top, bottom: -top });
    this.camera.updateProjectionMatrix();
    this.draw();
  }

  draw() {
    this.renderer.render(this.scene, this.camera);
    this.letter();
    this.rule();
  }

  letter() {
    // The patient's sides at the edges, where the view is straight enough to have them.
    const steps = this.camera.matrixWorld.elements;
    const across = [steps[0], steps[1], steps[2]], up = [steps[4], steps[5], steps[6]];
    for (const [name, direction] of [["right", across], ["left", across.map((x) => -x)], ["top", up],
      ["bottom", up.map((x) => -x)]]) {
      const axis = direction.findIndex((x) => Math.abs(x) > 0.9);
      this.figure.querySelector(`.side.${name}`).textContent = axis < 0 ? "" : SIDES[axis][Number(direction[axis] > 0)];
    }
  }

  rule() {
    if (!this.data.sized) return;
    const perMm = this.stage.clientWidth * this.camera.zoom / (this.camera.right - this.camera.left);
    const length = [200, 100, 50, 20, 10, 5, 2, 1].find((mm) => mm * perMm < 120) || 1;
    const bar = this.figure.querySelector(".scale");
    bar.style.width = `${length * perMm}px`;
    bar.textContent = `${length} mm`;
  }

  picture() {
    this.draw();
    return this.canvas.toDataURL("image/png");
  }

  still() {
    // What is printed is what is seen.
    const image = this.figure.querySelector("img.still");
    image.src = this.picture();
    image.removeAttribute("width");
    image.removeAttribute("height");
  }

  save() {
    const link = document.createElement("a");
    link.href = this.picture();
    link.download = "lungs.png";
    link.click();
  }
}

for (const figure of document.querySelectorAll(".view3d")) {
  try {
    new View3D(figure);
  } catch (error) {
    figure.querySelector(".no3d").textContent = `This browser shows no 3D (${error.message}).`;
  }
}
