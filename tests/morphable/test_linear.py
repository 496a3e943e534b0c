"""The linear model against plain NumPy sums, and skinning against joints turned one by one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jfrecon.morphable import linear
from jfrecon.types import MorphableModel, Skeleton, Topology

V = 11


def random_model(seed: int = 0, skeleton: Skeleton | None = None) -> MorphableModel:
    random = np.random.default_rng(seed)

    def array(*shape):
        return jnp.asarray(random.normal(size=shape), jnp.float32)

    topology = Topology(
        np.array([[0, 1, 2]], np.int32), np.eye(3, 2, dtype=np.float32), np.array([[0, 1, 2]], np.int32)
    )
    return MorphableModel(
        100 * array(V, 3), array(4, V, 3), array(3, V, 3), array(V, 3), array(5, V, 3), array(V, 1), array(5,
        V, 1), topology, random.integers(0, V, 68), skeleton,
    )  # fmt: skip


def random_skeleton(seed: int = 1, joints: int = 4) -> Skeleton:
    random = np.random.default_rng(seed)
    regressor, weights = random.uniform(size=(joints, V)), random.uniform(size=(V, joints))
    return Skeleton(
        joint_regressor=jnp.asarray(regressor / regressor.sum(1, keepdims=True), jnp.float32),
        weights=jnp.asarray(weights / weights.sum(1, keepdims=True), jnp.float32),
        pose_basis=jnp.asarray(random.normal(size=(9 * (joints - 1), V, 3)), jnp.float32),
        parents=(-1, 0, 1, 1),
    )


def test_shape_is_the_plain_sum():
    model, random = random_model(), np.random.default_rng(3)
    identity, expression = random.normal(size=(2, 3, 4)), random.normal(size=(2, 3, 3))
    wanted = np.zeros((2, 3, V, 3))
    for i in range(2):
        for j in range(3):
            wanted[i, j] = model.mean
            for k in range(4):
                wanted[i, j] += identity[i, j, k] * np.asarray(model.identity_basis[k], np.float64)
            for k in range(3):
                wanted[i, j] += expression[i, j, k] * np.asarray(model.expression_basis[k], np.float64)
    found = linear.shape(model, jnp.asarray(identity, jnp.float32), jnp.asarray(expression, jnp.float32))
    # float32 has 24 bits: coordinates of a few hundred round to about 3e-5
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_albedo_is_the_plain_sum_and_drives_both():
    model = random_model()
    a = np.random.default_rng(4).normal(size=5).astype(np.float32)
    diffuse, specular = linear.albedo(model, jnp.asarray(a))
    wanted = np.asarray(model.diffuse_mean) + sum(a[k] * np.asarray(model.diffuse_basis[k]) for k in range(5))
    np.testing.assert_allclose(diffuse, wanted, atol=1e-5)  # values of a few units, float32
    wanted = np.asarray(model.specular_mean) + sum(a[k] * np.asarray(model.specular_basis[k]) for k in range(5))
    np.testing.assert_allclose(specular, wanted, atol=1e-5)


def test_products_ask_for_full_precision():
    model = random_model(skeleton=random_skeleton())
    zeros = jnp.zeros(4), jnp.zeros(3), jnp.zeros(5)
    for text in (
        jax.jit(linear.shape).lower(model, *zeros[:2]).as_text(),
        jax.jit(linear.albedo).lower(model, zeros[2]).as_text(),
        jax.jit(linear.pose).lower(model, model.mean, jnp.zeros((4, 3))).as_text(),
    ):
        products = [line for line in text.splitlines() if 'dot_general' in line]
        assert products
        assert all('HIGHEST' in line for line in products)


def test_landmarks_are_vertices():
    model = random_model()
    vertices = np.random.default_rng(5).normal(size=(2, V, 3))
    np.testing.assert_array_equal(
        linear.landmarks(model, jnp.asarray(vertices)), vertices[:, model.landmark_ids].astype('f4')
    )


def _posed(model: MorphableModel, vertices: np.ndarray, rotvecs: np.ndarray) -> np.ndarray:
    """Skinning written as FLAME's eqs. 1-4 read: 4x4 matrices down the tree, float64, SciPy's rotations."""
    skeleton = jax.tree.map(lambda x: np.asarray(x, np.float64), model.skeleton)
    joints = skeleton.joint_regressor @ vertices
    turns = Rotation.from_rotvec(rotvecs).as_matrix()
    bend = np.concatenate([(turn - np.eye(3)).ravel() for turn in turns[1:]])
    corrected = vertices + sum(b * p for b, p in zip(bend, skeleton.pose_basis))
    chain = []
    for j, parent in enumerate(skeleton.parents):
        local = np.eye(4)
        local[:3, :3] = turns[j]
        local[:3, 3] = joints[j] - (joints[parent] if parent >= 0 else 0)
        chain.append(local if parent < 0 else chain[parent] @ local)
    result = np.zeros_like(vertices)
    for v in range(len(vertices)):
        for j in range(len(chain)):
            rest = np.eye(4)
            rest[:3, 3] = -joints[j]
            result[v] += skeleton.weights[v, j] * (chain[j] @ rest @ np.append(corrected[v], 1))[:3]
    return result


def test_pose_agrees_with_matrices_down_the_tree():
    model = random_model(skeleton=random_skeleton())
    rotvecs = np.random.default_rng(6).normal(size=(2, 4, 3)) * 0.7
    vertices = np.stack([np.asarray(model.mean, np.float64)] * 2)
    found = linear.pose(model, jnp.asarray(vertices, jnp.float32), jnp.asarray(rotvecs, jnp.float32))
    for i in range(2):
        # float32 on coordinates of a few hundred, a handful of products deep
        np.testing.assert_allclose(found[i], _posed(model, vertices[i], rotvecs[i]), atol=1e-3)


def test_pose_at_rest_changes_nothing_and_has_finite_gradients():
    model = random_model(skeleton=random_skeleton())
    rest = jnp.zeros((4, 3))
    np.testing.assert_allclose(linear.pose(model, model.mean, rest), model.mean, atol=1e-4)  # float32, as above
    gradient = jax.grad(lambda r: jnp.sum(linear.pose(model, model.mean, r) ** 2))(rest)
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_pose_needs_a_skeleton():
    model = random_model()
    with pytest.raises(ValueError, match='no skeleton'):
        linear.pose(model, model.mean, jnp.zeros((4, 3)))


def test_truncate_keeps_the_leading_modes():
    model = random_model().replace(expression_names=('a', 'b', 'c'))
    small = linear.truncate(model, 2, 1, 3)
    assert small.identity_basis.shape[0] == 2 and small.diffuse_basis.shape[0] == small.specular_basis.shape[0] == 3
    assert small.expression_names == ('a',)
    np.testing.assert_array_equal(small.identity_basis, model.identity_basis[:2])
