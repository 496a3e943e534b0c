// The face of a report under light that can be moved. Needs nothing but what the page holds.
import {
  DataTexture, DirectionalLight, EquirectangularReflectionMapping, Euler, FloatType, GLTFLoader, LinearFilter,
  MeshBasicMaterial, NoToneMapping, OrbitControls, PMREMGenerator, RGBAFormat, RepeatWrapping, Scene, WebGLRenderer,
} from 'three';

const LAYERS = { diffuse: 'map', specular: 'specularColorMap', relief: 'normalMap' };
const bytes = (id) => Uint8Array.from(atob(document.getElementById(id).textContent.trim()), (c) => c.charCodeAt(0));
const facts = JSON.parse(document.getElementById('facts').textContent);
const place = document.getElementById('viewer');

const renderer = new WebGLRenderer({ antialias: true, preserveDrawingBuffer: true });
renderer.toneMapping = NoToneMapping;
renderer.shadowMap.enabled = true;
renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
place.prepend(renderer.domElement);

const scene = new Scene();
const { width, height } = facts.light;
const light = new DataTexture(new Float32Array(bytes('light').buffer), width, height, RGBAFormat, FloatType);
light.mapping = EquirectangularReflectionMapping;
light.magFilter = light.minFilter = LinearFilter;
light.wrapS = RepeatWrapping;
light.flipY = true; // the first row is up
light.needsUpdate = true;
scene.environment = new PMREMGenerator(renderer).fromEquirectangular(light).texture;

const lamp = new DirectionalLight(0xffffff, 0);
lamp.castShadow = true;
lamp.shadow.mapSize.set(1024, 1024);
lamp.shadow.normalBias = 0.001;
scene.add(lamp, lamp.target);

const { scene: loaded, cameras } = await new GLTFLoader().parseAsync(bytes('face').buffer, '');
scene.add(loaded);
const face = loaded.getObjectByName('face');
const meshes = [];
face.traverse((node) => node.isMesh && meshes.push(node));
for (const mesh of meshes) {
  mesh.castShadow = mesh.receiveShadow = true;
  mesh.userData.lit = mesh.material;
}

const ASPECT = 4 / 3;
const [low, high] = [[Infinity, Infinity, Infinity], [-Infinity, -Infinity, -Infinity]]; // of the skin, without expression
const corners = meshes[0].geometry.attributes.position;
for (let k = 0; k < corners.count; k += 1) {
  [corners.getX(k), corners.getY(k), corners.getZ(k)].forEach((x, axis) => {
    low[axis] = Math.min(low[axis], x);
    high[axis] = Math.max(high[axis], x);
  });
}
const FACE = 1.15 * (high[1] - low[1]); // metres that fill the height of the picture
loaded.updateMatrixWorld(true);
const middle = face.localToWorld(face.position.clone().set(0, (low[1] + high[1]) / 2, high[2] - 0.05));
const camera = cameras[0]; // the photograph's: perspective or orthographic
[camera.near, camera.far] = [middle.length() / 100, 10 * middle.length()];
if (camera.isPerspectiveCamera) camera.aspect = ASPECT;
else [camera.left, camera.right] = [-camera.top * ASPECT, camera.top * ASPECT];
const controls = new OrbitControls(camera, renderer.domElement);
function asPhotographed() {
  // From where it was; in weak perspective, which has no such place, from straight ahead.
  if (camera.isPerspectiveCamera) camera.position.set(0, 0, 0);
  else camera.position.set(middle.x, middle.y, 0);
  const distance = camera.position.distanceTo(middle);
  const height = camera.isPerspectiveCamera ? 2 * distance * Math.tan((camera.fov * Math.PI) / 360) : 2 * camera.top;
  camera.zoom = height / FACE;
  camera.updateProjectionMatrix();
  controls.target.copy(middle);
  camera.lookAt(middle);
  controls.update();
}

// What the person at the page has chosen; also what comes after the # of its address.
const state = { turn: 0, light: 1, lamp: 0, azimuth: 40, elevation: 30, view: 'lit', expression: '', amount: 1 };
for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
  if (name in state) state[name] = typeof state[name] === 'number' ? Number(value) || 0 : value;
}

function show() {
  const radians = (degrees) => (degrees * Math.PI) / 180;
  scene.environmentIntensity = state.light;
  scene.environmentRotation = new Euler(0, radians(state.turn), 0);
  lamp.intensity = state.lamp * Math.PI; // a white surface that faces a lamp of 1 is white
  const [a, e] = [radians(state.azimuth), radians(state.elevation)];
  lamp.position.set(Math.sin(a) * Math.cos(e), Math.sin(e), Math.cos(a) * Math.cos(e)).multiplyScalar(1).add(middle);
  lamp.target.position.copy(middle);
  const reach = lamp.shadow.camera;
  [reach.left, reach.right, reach.top, reach.bottom, reach.near, reach.far] = [-0.2, 0.2, 0.2, -0.2, 0.5, 1.5];
  reach.updateProjectionMatrix();
  const layer = LAYERS[state.view];
  for (const mesh of meshes) {
    const map = mesh.userData.lit[layer];
    mesh.material = layer && map ? new MeshBasicMaterial({ map }) : mesh.userData.lit;
    const names = mesh.morphTargetDictionary ?? {};
    facts.expression.forEach((weight, k) => { mesh.morphTargetInfluences[k] = weight; });
    if (state.expression in names) mesh.morphTargetInfluences[names[state.expression]] = state.amount;
  }
  draw();
}

function draw() {
  renderer.render(scene, camera);
  document.body.dataset.drawn = String(Number(document.body.dataset.drawn ?? 0) + 1);
}

function resize() {
  const side = place.clientWidth;
  renderer.setSize(side, Math.round(side / ASPECT));
  draw();
}

for (const input of place.querySelectorAll('[name]')) {
  if (input.name === 'expression') {
    for (const name of Object.keys(meshes[0].morphTargetDictionary ?? {})) input.add(new Option(name));
  }
  input.value = state[input.name];
  input.addEventListener('input', () => {
    state[input.name] = typeof state[input.name] === 'number' ? Number(input.value) : input.value;
    show();
  });
}
document.getElementById('photographed').addEventListener('click', () => { asPhotographed(); draw(); });
controls.addEventListener('change', draw);
addEventListener('resize', resize);
asPhotographed();
show();
resize();
