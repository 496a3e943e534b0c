"""Which pixels of a photograph show the skin of a face, by a U-net that has seen synthetic occlusions only.

`experiments/parsing_network` trains it, and says how it does on photographs. Eyes and the inside of the mouth are no
skin; nor are hair, glasses and whatever else is in front of the face.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from scipy.ndimage import map_coordinates

from jfrecon import pretrained
from jfrecon.data.cropping import Box, crop
from jfrecon.data.sample import Sample
from jfrecon.nets import weights
from jfrecon.nets.unet import UNet

SIZE, SCALE = 64, 1.8  # pixels of a crop, and its side over that of the landmarks' box


class ParsingNet(nn.Module):
    """A U-net from a face to the logit of being skin.

    Attributes:
      axis_name: mesh axis over which batch norm is synchronised, None on one device.
    """

    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> jax.Array:
        """Crops [B, SIZE, SIZE, 3], sRGB in 0..1 -> logits [B, SIZE, SIZE]."""
        everywhere = jnp.ones(image.shape[:3])
        return UNet(1, 'small', self.axis_name, name='unet')(image, everywhere, train)[..., 0]


def probabilities(images: np.ndarray, path: Path = pretrained.SKIN) -> np.ndarray:
    """Of skin, [B, SIZE, SIZE], in crops [B, SIZE, SIZE, 3] in 0..1 around faces.

    Raises:
      UserError: there are no weights at the path.
    """
    return np.asarray(_probabilities(weights.unpack(path), jnp.asarray(images, jnp.float32)))


def with_mask(sample: Sample, box: Box | None = None, path: Path = pretrained.SKIN) -> Sample:
    """The photograph with a mask of the skin in a box, by default the sample's own; beyond the box there is none."""
    box = Box(*sample.box) if box is None and sample.box is not None else box
    assert box is not None, 'somebody has to say where the face is'
    cut = crop(sample.replace(mask=None), box, SIZE, default_focal=1.0)
    found = probabilities(cut.image[None] / np.float32(255), path)[0]
    rows, columns = np.indices(sample.image.shape[:2]) + 0.5
    places = [(rows - box.y) * SIZE / box.side - 0.5, (columns - box.x) * SIZE / box.side - 0.5]
    return sample.replace(mask=np.uint8(255) * (map_coordinates(found, places, order=1) > 0.5))


@jax.jit
def _probabilities(variables: dict, images: jax.Array) -> jax.Array:
    logits = ParsingNet().apply(variables, images, False)
    assert isinstance(logits, jax.Array)  # nothing is mutable
    return nn.sigmoid(logits)
