// What the viewer needs of three.js, bundled by `make viewer` into three.min.mjs.
export {
  DataTexture, DirectionalLight, EquirectangularReflectionMapping, Euler, FloatType, LinearFilter, MeshBasicMaterial,
  MeshNormalMaterial, NoToneMapping, PMREMGenerator, PerspectiveCamera, RGBAFormat, RepeatWrapping, Scene, WebGLRenderer,
} from 'three';
export { OrbitControls } from 'three/addons/controls/OrbitControls.js';
export { GLTFLoader } from 'three/addons/loaders/GLTFLoader.js';
