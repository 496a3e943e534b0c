"""E of dib21 (3, figure 2): one photograph -> the semantic code chi of the face in it."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jfrecon.nets.encoder import Encoder
from jfrecon.nets.head import FaceHead, place
from jfrecon.types import FaceParameters, Pinhole


class Network(nn.Module):
    """Encoder and fully connected layer that regress chi = {alpha, delta, R, T, gamma, beta}.

    It starts at the mean face, frontal, centred, under grey light, whatever the image.

    Attributes:
      backbone: an encoder's name, see `jfrecon.nets.encoder`.
      latent: width of the code between encoder and head (1000 in the paper); the decoders of stage II read it.
      identity, expression, albedo: numbers of coefficients.
      bands: spherical-harmonics bands of the light.
      face_width: mm, `fill`: share of the crop's width that the face fills at the start.
      scales: (group, scale) of the head's outputs, see `jfrecon.nets.head.FaceHead`.
      dtype: of the encoder's arithmetic; the head stays float32.
      axis_name: device axis over which batch norm is synchronised, None on one device.
    """

    backbone: str
    latent: int
    identity: int
    expression: int
    albedo: int
    bands: int
    face_width: float
    fill: float
    scales: tuple[tuple[str, float], ...] = ()
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: jax.Array, camera: Pinhole, train: bool) -> FaceParameters:
        """image [B, H, W, 3] sRGB in 0..1 and the crop's camera -> parameters with leaves [B, ...]."""
        encoder = Encoder(self.backbone, self.latent, self.axis_name, self.dtype, name='encoder')
        code = encoder(image, train=train)
        head = FaceHead(self.identity, self.expression, self.albedo, self.bands, scales=self.scales, name='head')
        raw = head(code)
        translation = place(
            raw.pop('translation'),
            camera,
            size=image.shape[-2],
            face_width_mm=self.face_width,
            fill=self.fill,
        )
        return FaceParameters(translation=translation, **raw)
