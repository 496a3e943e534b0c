// The head of a report under light that can be moved. Needs nothing but what the page holds.
import {
  DataTexture, DirectionalLight, EquirectangularReflectionMapping, Euler, FloatType, GLTFLoader, LinearFilter,
  MeshBasicMaterial, MeshNormalMaterial, NoToneMapping, OrbitControls, PMREMGenerator, RGBAFormat, RepeatWrapping,
  Scene, WebGLRenderer,
} from 'three';

const bytes = (id) => Uint8Array.from(atob(document.getElementById(id).textContent.trim()), (c) => c.charCodeAt(0));
const facts = JSON.parse(document.getElementById('facts').textContent);
const place = document.getElementById('viewer');
const stage = place.querySelector('.stage');
const archive = bytes('files'); // a zip, whose members are found by their place in it
const member = (name) => archive.subarray(...facts.members[name]);

// The files: to be saved one by one or together.
function offer(name, content, type) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.textContent = name;
  place.querySelector('.downloads').append(link, ' ');
  return link;
}
offer(`${facts.name}.glb`, member('face.glb'), 'model/gltf-binary');
offer(`${facts.name}.zip`, archive, 'application/zip').textContent = `everything (${facts.name}.zip)`;
const photograph = place.querySelector('.photograph');
if ('photograph.png' in facts.members) {
  photograph.src = URL.createObjectURL(new Blob([member('photograph.png')], { type: 'image/png' }));
} else photograph.remove();

let renderer;
try {
  renderer = new WebGLRenderer({ antialias: true, preserveDrawingBuffer: true });
} catch (error) {
  place.querySelector('.failure').hidden = false;
  throw error;
}
renderer.toneMapping = NoToneMapping;
renderer.shadowMap.enabled = true;
renderer.setClearColor(0x1c1c1c);
renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
stage.append(renderer.domElement);

const scene = new Scene();

// Lights from everywhere: of the photograph, and others, radiance by direction (x right, y up, z to the viewer).
const lobe = (x, y, z, sharpness) => {
  const length = Math.hypot(x, y, z);
  return (d) => Math.exp(sharpness * ((d[0] * x + d[1] * y + d[2] * z) / length - 1));
};
const sum = (...parts) => (d) => [0, 1, 2].map((c) => parts.reduce((all, [of, colour]) => all + of(d) * colour[c], 0));
const up = (d) => 0.5 + 0.5 * d[1];
const SKIES = {
  studio: sum(
    [() => 1, [0.1, 0.1, 0.11]], [lobe(-0.7, 0.5, 0.7, 12), [5, 4.8, 4.5]], [lobe(1, 0.1, 0.4, 6), [0.5, 0.5, 0.55]],
    [lobe(0.6, 0.4, -0.8, 16), [6, 6, 6.5]],
  ),
  overcast: sum([up, [0.95, 1, 1.05]], [() => 1, [0.15, 0.15, 0.15]]),
  sunset: sum(
    [lobe(0.9, 0.15, 0.5, 60), [40, 19, 7]], [lobe(0.9, 0, 0.5, 3), [0.7, 0.35, 0.15]], [up, [0.12, 0.18, 0.35]],
  ),
  colours: sum(
    [lobe(-1, 0.1, 0.25, 10), [0.4, 1.2, 5]], [lobe(1, 0.1, 0.25, 10), [5, 1.8, 0.4]], [() => 1, [0.05, 0.05, 0.05]],
  ),
};
const generator = new PMREMGenerator(renderer);
function environment(data, width, height) {
  const texture = new DataTexture(data, width, height, RGBAFormat, FloatType);
  texture.mapping = EquirectangularReflectionMapping;
  texture.magFilter = texture.minFilter = LinearFilter;
  texture.wrapS = RepeatWrapping;
  texture.flipY = true; // the first row is up
  texture.needsUpdate = true;
  return generator.fromEquirectangular(texture).texture;
}
function sky(radiance) {
  // Bright enough to show a white surface that faces the viewer as white.
  const [width, height] = [256, 128];
  const data = new Float32Array(4 * width * height).fill(1);
  let facing = 0;
  for (let row = 0; row < height; row += 1) {
    const polar = (Math.PI * (row + 0.5)) / height;
    for (let column = 0; column < width; column += 1) {
      const azimuth = 2 * Math.PI * ((column + 0.5) / width - 0.5);
      const d = [Math.cos(azimuth) * Math.sin(polar), Math.cos(polar), Math.sin(azimuth) * Math.sin(polar)];
      const colour = radiance(d);
      data.set(colour, 4 * (row * width + column));
      const solid = ((2 * Math.PI) / width) * (Math.PI / height) * Math.sin(polar);
      facing += ((Math.max(0, d[2]) * (colour[0] + colour[1] + colour[2])) / 3 / Math.PI) * solid;
    }
  }
  return environment(data.map((value, k) => (k % 4 === 3 ? 1 : value / facing)), width, height);
}
const { width, height } = facts.light;
const lights = { own: environment(new Float32Array(bytes('light').buffer), width, height) };

const lamp = new DirectionalLight(0xffffff, 0);
lamp.castShadow = true;
lamp.shadow.mapSize.set(1024, 1024);
lamp.shadow.normalBias = 0.001;
scene.add(lamp, lamp.target);

const { scene: loaded, cameras } = await new GLTFLoader().parseAsync(member('face.glb').slice().buffer, '');
scene.add(loaded);
const face = loaded.getObjectByName('face');
const meshes = [];
face.traverse((node) => node.isMesh && meshes.push(node));
for (const mesh of meshes) {
  mesh.castShadow = mesh.receiveShadow = true;
  const lit = mesh.material;
  const plain = lit.clone();
  Object.assign(plain, { map: null, specularColorMap: null, specularIntensity: 0.3, vertexColors: false, roughness: 0.6 });
  plain.color.set(0x8c8c8c);
  plain.specularColor?.set(0xffffff);
  const below = plain.clone(); // of the wires
  Object.assign(below, { normalMap: null, polygonOffset: true, polygonOffsetFactor: 1, polygonOffsetUnits: 1 });
  const flat = (map, otherwise) => new MeshBasicMaterial(map ? { map } : otherwise);
  const relief = lit.normalMap?.clone();
  if (relief) relief.colorSpace = 'srgb'; // to be seen as it is in its file
  mesh.userData.materials = {
    lit,
    shape: plain,
    wireframe: below,
    diffuse: flat(lit.map, { vertexColors: lit.vertexColors }),
    specular: flat(lit.specularColorMap, { color: 0 }),
    normals: new MeshNormalMaterial({ normalMap: lit.normalMap }),
    relief: flat(relief, { color: 0x8080ff }),
  };
  const wires = new mesh.constructor(
    mesh.geometry, new MeshBasicMaterial({ wireframe: true, color: 0x10203a, transparent: true, opacity: 0.6 }));
  wires.morphTargetInfluences = mesh.morphTargetInfluences;
  mesh.userData.wires = wires;
  mesh.add(wires);
}

const [low, high] = [[Infinity, Infinity, Infinity], [-Infinity, -Infinity, -Infinity]]; // of the skin, without expression
const corners = meshes[0].geometry.attributes.position;
for (let k = 0; k < corners.count; k += 1) {
  [corners.getX(k), corners.getY(k), corners.getZ(k)].forEach((x, axis) => {
    low[axis] = Math.min(low[axis], x);
    high[axis] = Math.max(high[axis], x);
  });
}
const FACE = 1.15 * (high[1] - low[1]); // metres that fill the height of the picture, which is a square
loaded.updateMatrixWorld(true);
const middle = face.localToWorld(face.position.clone().set(0, (low[1] + high[1]) / 2, high[2] - 0.05));
const camera = cameras[0]; // the photograph's: perspective or orthographic
[camera.near, camera.far] = [middle.length() / 100, 10 * middle.length()];
if (camera.isPerspectiveCamera) camera.aspect = 1;
else [camera.left, camera.right] = [-camera.top, camera.top];
const controls = new OrbitControls(camera, renderer.domElement);
function asPhotographed() {
  // From where it was; in weak perspective, which has no such place, from straight ahead.
  if (camera.isPerspectiveCamera) camera.position.set(0, 0, 0);
  else camera.position.set(middle.x, middle.y, 0);
  const distance = camera.position.distanceTo(middle);
  const seen = camera.isPerspectiveCamera ? 2 * distance * Math.tan((camera.fov * Math.PI) / 360) : 2 * camera.top;
  camera.zoom = seen / FACE;
  camera.updateProjectionMatrix();
  controls.target.copy(middle);
  camera.lookAt(middle);
  controls.update();
}

// What the person at the page has chosen; also what comes after the # of its address.
const state = { view: 'lit', light: 'own', brightness: 1, turn: 0, lamp: 0, azimuth: 40, elevation: 30 };
const names = Object.keys(meshes[0].morphTargetDictionary ?? {});
const weights = Object.fromEntries(names.map((name, k) => [name, facts.expression[k] ?? 0]));
for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
  if (name in state) state[name] = typeof state[name] === 'number' ? Number(value) || 0 : value;
  if (name in weights) weights[name] = Number(value) || 0;
}

function show() {
  const radians = (degrees) => (degrees * Math.PI) / 180;
  if (!(state.light in lights)) lights[state.light] = state.light in SKIES ? sky(SKIES[state.light]) : lights.own;
  scene.environment = lights[state.light];
  scene.environmentIntensity = state.brightness;
  scene.environmentRotation = new Euler(0, radians(state.turn), 0);
  lamp.intensity = state.lamp * Math.PI; // a white surface that faces a lamp of 1 is white
  const [a, e] = [radians(state.azimuth + state.turn), radians(state.elevation)];
  lamp.position.set(Math.sin(a) * Math.cos(e), Math.sin(e), Math.cos(a) * Math.cos(e)).add(middle);
  lamp.target.position.copy(middle);
  const reach = lamp.shadow.camera;
  [reach.left, reach.right, reach.top, reach.bottom, reach.near, reach.far] = [-0.2, 0.2, 0.2, -0.2, 0.5, 1.5];
  reach.updateProjectionMatrix();
  for (const mesh of meshes) {
    const { materials, wires } = mesh.userData;
    mesh.material = materials[state.view] ?? materials.lit;
    wires.visible = state.view === 'wireframe';
    names.forEach((name) => { mesh.morphTargetInfluences[mesh.morphTargetDictionary[name]] = weights[name]; });
  }
  draw();
}

function draw() {
  renderer.render(scene, camera);
  document.body.dataset.drawn = String(Number(document.body.dataset.drawn ?? 0) + 1);
}

function resize() {
  renderer.setSize(stage.clientWidth, stage.clientWidth, false);
  draw();
}

for (const input of place.querySelectorAll('[name]')) {
  input.value = state[input.name];
  input.addEventListener('input', () => {
    state[input.name] = typeof state[input.name] === 'number' ? Number(input.value) : input.value;
    show();
  });
}
const sliders = names.map((name) => {
  const slider = Object.assign(document.createElement('input'), { type: 'range', min: 0, max: 1, step: 0.01 });
  slider.dataset.expression = name;
  const label = document.createElement('label');
  label.append(name, ' ', slider);
  document.getElementById('expressions').append(label);
  slider.addEventListener('input', () => { weights[name] = Number(slider.value); show(); });
  return slider;
});
function express(values) {
  names.forEach((name, k) => { weights[name] = values[k]; });
  sliders.forEach((slider) => { slider.value = weights[slider.dataset.expression]; });
  show();
}
place.querySelector('.expressions').hidden = !names.length;
document.getElementById('expressed').addEventListener('click', () => express(names.map((_, k) => facts.expression[k])));
document.getElementById('neutral').addEventListener('click', () => express(names.map(() => 0)));
document.getElementById('photographed').addEventListener('click', () => { asPhotographed(); draw(); });

const turning = document.getElementById('turning');
let before = null; // when the light turns: ms of the last picture
function turn(now) {
  if (before === null) return;
  state.turn = (state.turn + (now - before) * 0.06) % 360; // once in six seconds
  place.querySelector('[name=turn]').value = state.turn;
  before = now;
  show();
  requestAnimationFrame(turn);
}
turning.addEventListener('click', () => {
  before = before === null ? performance.now() : null;
  turning.setAttribute('aria-pressed', String(before !== null));
  turning.textContent = before === null ? 'turn the light' : 'stop the light';
  if (before !== null) requestAnimationFrame(turn);
});
controls.addEventListener('change', draw);
new ResizeObserver(resize).observe(stage);
asPhotographed();
express(names.map((name) => weights[name]));
resize();
