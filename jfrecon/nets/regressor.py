"""E, D1 and D2 of dib21 (3, figure 2) and s2f2 (3.2, 3.3): a photograph -> the code chi of its face, and increments."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jfrecon.nets.decoder import Decoder
from jfrecon.nets.encoder import Encoder, with_published
from jfrecon.nets.head import FaceHead, place
from jfrecon.types import FaceParameters, Maps, Pinhole


class Regressor(nn.Module):
    """Encoder and fully connected layer that regress chi = {alpha, delta, R, T, gamma, beta}, and decoders.

    It starts at the mean face, frontal, centred, under grey light, whatever the image, with increments of zero.

    Attributes:
      backbone: an encoder's name, see `jfrecon.nets.encoder`.
      latent: width of the code between encoder and head (1000 in the paper); the decoders of stage II read it.
      identity, expression, albedo: numbers of coefficients.
      bands: spherical-harmonics bands of the light.
      face_width: mm, `fill`: share of the crop's width that the face fills at the start.
      scales: (group, scale) of the head's outputs, see `jfrecon.nets.head.FaceHead`.
      texture: texels of the side of the decoders' maps, 0 for no decoders.
      decoders: 2, one for the diffuse and one for the specular increment, or 1 for both (figure 4, row II).
      dtype: of encoder's and decoders' arithmetic; the head stays float32.
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
    texture: int = 0
    decoders: int = 2
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, image: jax.Array, camera: Pinhole, train: bool, increments: bool = True, fixed: bool = False
    ) -> tuple[FaceParameters, Maps | None]:
        """image [B, H, W, 3] sRGB in 0..1 and the crop's camera -> parameters with leaves [B, ...], and increments.

        Args:
          train: batch norms look at the batch; their collection must be mutable.
          increments: whether the decoders are asked; None is returned where not, or where there are none.
          fixed: E gets no gradient, and its batch norms do not look at the batch (3.2, training strategy).
        """
        encoder = Encoder(self.backbone, self.latent, self.axis_name, self.dtype, name='encoder')
        code = encoder(image, train=train and not fixed)
        head = FaceHead(self.identity, self.expression, self.albedo, self.bands, scales=self.scales, name='head')
        raw: Any = head(code)
        if fixed:
            code, raw = jax.lax.stop_gradient((code, raw))
        translation = place(
            raw.pop('translation'),
            camera,
            size=image.shape[-2],
            face_width_mm=self.face_width,
            fill=self.fill,
        )
        chi = FaceParameters(translation=translation, maps=None, **raw)
        if not (self.texture and increments):
            return chi, None
        decoder = lambda channels, name: Decoder(self.texture, channels, self.axis_name, self.dtype, name=name)
        if self.decoders == 1:
            both = decoder(4, 'decoder')(code, train)
            return chi, Maps(both[..., :3], both[..., 3:])
        diffuse, specular = decoder(3, 'decoder_diffuse')(code, train), decoder(1, 'decoder_specular')(code, train)
        return chi, Maps(diffuse, specular)


def fresh(network: Regressor, size: int, key: jax.Array, published: str | None = None) -> dict:
    """Variables of a regressor that has seen no face; E's from a file of published ImageNet weights where it is named.

    size: pixels of the crops that it reads.
    """
    image, camera = jnp.zeros((1, size, size, 3)), Pinhole(jnp.ones((1,)), jnp.zeros((1, 2)))
    network = network.clone(axis_name=None)
    # jitted: op by op, a ResNet-18 takes twenty seconds
    variables = dict(jax.jit(lambda k: network.init(k, image, camera, train=False))(key))
    if published is None:
        return variables
    encoder = Encoder(network.backbone, network.latent)
    own = {collection: variables[collection]['encoder'] for collection in ('params', 'batch_stats')}
    loaded = with_published(encoder, own, published)
    return variables | {collection: variables[collection] | {'encoder': loaded[collection]} for collection in own}
