"""Whether two pictures show the same person, by a network that no loss uses.

It learned from synthetic people (`experiments/identity_network` trains it, and says how far it can be trusted), so a
similarity compares reconstructions with each other; it is not that of a network that learned from photographs.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jfrecon import pretrained
from jfrecon.nets import weights
from jfrecon.nets.iresnet import IdentityNetwork
from jfrecon.nets.small import SmallNet

SIZE = 64  # pixels of a crop, 1.8 times as wide as the landmarks' box
CODE = 128
WIDTHS = (32, 64, 128, 192)


def network(axis_name: str | None = None) -> IdentityNetwork:
    """The network, of crops of SIZE pixels; its codes have length CODE.

    axis_name: mesh axis over which batch norm is synchronised, None on one device.
    """
    return IdentityNetwork(SmallNet(CODE, WIDTHS, axis_name))


def similarity(photos: np.ndarray, renderings: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Cosines [B] between the codes of pictures of the same crops, in -1..1.

    photos, renderings: [B, H, W, 3] sRGB in 0..1, squares 1.8 times as wide as the landmarks' box. masks: [B, H, W]
    above 0.5 on the skin that both of them show.
    """
    seen = (np.asarray(masks) > 0.5).astype(np.float32)
    return np.sum(codes(photos, seen) * codes(renderings, seen), axis=-1)


def codes(images: np.ndarray, masks: np.ndarray, path: Path = pretrained.IDENTITY) -> np.ndarray:
    """Unit codes [B, CODE] of crops [B, H, W, 3] and their masks [B, H, W], which are reduced to SIZE.

    Raises:
      UserError: there are no weights at the path.
    """
    return np.asarray(_codes(weights.unpack(path), jnp.asarray(images, jnp.float32), jnp.asarray(masks, jnp.float32)))


@jax.jit
def _codes(variables: dict, images: jax.Array, masks: jax.Array) -> jax.Array:
    # masked before it is reduced, so that no pixel beside the skin gets in
    layers = jnp.concatenate([images * masks[..., None], masks[..., None]], -1)
    layers = jax.image.resize(layers, (len(images), SIZE, SIZE, 4), 'linear')
    masks = layers[..., 3]
    images = layers[..., :3] / jnp.maximum(masks, 1e-3)[..., None]
    found = network().apply(variables, images, jnp.float32(masks > 0.5), False)
    assert isinstance(found, jax.Array)  # nothing is mutable
    return found
