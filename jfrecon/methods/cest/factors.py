"""The factors of a face, and the network that estimates each (cest 3.1, 3.2): one module and one line in `FACTORS`.

A factor gives groups: those of `READ`, of which the face is made, and others for the factors that see it. What it may
see of the factors before it reaches it in one way only, as a `Sight`: vectors through an embedding, maps as channels.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import struct

from jfrecon.nets.decoder import Decoder
from jfrecon.nets.encoder import Encoder
from jfrecon.nets.resnet import Dtype
from jfrecon.nets.unet import UNet
from jfrecon.shading import sh

Groups = dict[str, jax.Array]

VIEW = ('rotation', 'place')
SHAPE = ('identity', 'expression')
REFLECTANCE = ('diffuse', 'specular')  # in UV: what a person keeps from frame to frame (eqs. 7, 8)
#: The groups that make a face: `jfrecon.types.FaceParameters`, but for 'place', and its `jfrecon.types.Maps`.
READ = (*VIEW, *SHAPE, *REFLECTANCE, 'normal', 'light')
LIGHTS = {'white': 1, 'rgb': 3}  # colours

EMBEDDING = 64  # width of the layer that vectors go through
CHANNELS = 8  # of a vector that a U-net sees, the same in all texels
SKIN = 0.3  # albedo of a map at the start


@struct.dataclass
class Sight:
    """What a factor may look at.

    Attributes:
      image: [B, H, W, 3] the photograph, sRGB in 0..1.
      aligned: the same, turned and scaled to the canonical view in the plane (cest 3.2), if it sees the viewpoint.
      texture: [B, S, S, 3] the photograph in UV (T), if it sees viewpoint and shape, and ``shown`` [B, S, S] 1 where T
        shows the face.
      vectors: the groups that it sees and that have no place in UV, [B, ...] by name.
      maps: those in UV, [B, S, S, C].
    """

    image: jax.Array
    aligned: jax.Array | None = None
    texture: jax.Array | None = None
    shown: jax.Array | None = None
    vectors: Groups = struct.field(default_factory=dict)
    maps: Groups = struct.field(default_factory=dict)

    def others(self, names: Sequence[str]) -> Groups:
        """The vectors but these."""
        return {name: values for name, values in self.vectors.items() if name not in names}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Of all networks.

    Attributes:
      backbone: of what reads photographs, and ``unet``: of what reads UV maps (`jfrecon.nets`).
      latent: width of the code between encoder and outputs.
      identity, expression: numbers of coefficients.
      bands: spherical-harmonics bands of the light, and ``colours``: 1 of white light, 3 of RGB.
      texture: S, texels of the side of a map.
      scales: (group, scale) of outputs, as in `jfrecon.nets.head.FaceHead`.
      dtype: of the convolutions' arithmetic.
      axis_name: device axis over which batch norm is synchronised, None on one device.
    """

    backbone: str
    unet: str
    latent: int
    identity: int
    expression: int
    bands: int
    texture: int
    colours: int = 1
    scales: tuple[tuple[str, float], ...] = ()
    dtype: Dtype = jnp.float32
    axis_name: str | None = None

    def shape(self, group: str) -> tuple[int, ...]:
        """Of a group of `READ`, without the batch: what the face is made of takes no other."""
        side, light = self.texture, self.bands**2
        return {
            'rotation': (3,),
            'place': (3,),
            'identity': (self.identity,),
            'expression': (self.expression,),
            'diffuse': (side, side, 3),
            'specular': (side, side, 1),
            'normal': (side, side, 3),
            'light': (light,) if self.colours == 1 else (light, self.colours),
        }[group]


class Code(nn.Module):
    """Pictures and what else is seen, as one vector: the maps are channels of the picture, vectors are embedded.

    What T was unwrapped by, or what the picture was aligned by, is said by these (cest eq. 4 as section 3.2 has it).
    """

    settings: Settings

    @nn.compact
    def __call__(self, picture: jax.Array, sight: Sight, train: bool) -> jax.Array:
        """picture [B, H, W, 3] sRGB in 0..1, the photograph or the aligned one -> [B, latent]."""
        own = self.settings
        maps = [sight.maps[name] for name in sorted(sight.maps)]
        if sight.texture is not None and sight.shown is not None:
            maps.insert(0, sight.texture * sight.shown[..., None])
        resized = [jax.image.resize(values, (*picture.shape[:3], values.shape[-1]), 'linear') for values in maps]
        encoder = Encoder(own.backbone, own.latent, own.axis_name, own.dtype, name='encoder')
        code = encoder(jnp.concatenate([picture, *resized], -1), train)
        said = VIEW if picture is sight.aligned else ()
        if vectors := sight.others(said if sight.texture is None else (*VIEW, *SHAPE)):
            hidden = nn.relu(nn.Dense(EMBEDDING, name='embedding')(flat(vectors)))
            code += nn.Dense(own.latent, name='embedded')(hidden)
        return nn.relu(code)


class Linear(nn.Module):
    """Groups of coefficients from a code, nearly zero at the start."""

    sizes: Mapping[str, int]
    scales: tuple[tuple[str, float], ...]

    @nn.compact
    def __call__(self, code: jax.Array) -> Groups:
        """[B, F] -> {group: [B, size]}."""
        small = nn.initializers.variance_scaling(1e-4, 'fan_in', 'normal')
        outputs = nn.Dense(sum(self.sizes.values()), kernel_init=small, name='fc')(code)
        parts = jnp.split(outputs, np.cumsum(list(self.sizes.values()))[:-1], axis=-1)
        return {name: dict(self.scales).get(name, 1.0) * part for name, part in zip(self.sizes, parts, strict=True)}


class Viewpoint(nn.Module):
    """f_v: rotation, and where and how large the face is, of the whole photograph.

    The paper's seven numbers less t_z, which a weak perspective camera does not see. 'place' is for
    `jfrecon.nets.head.place`: offsets in crop widths, and the logarithm of the size's inverse.
    """

    settings: Settings
    gives: ClassVar[tuple[str, ...]] = ('rotation', 'place')

    @nn.compact
    def __call__(self, sight: Sight, train: bool) -> Groups:
        """-> 'rotation' [B, 3], axis-angle, and 'place' [B, 3]."""
        code = Code(self.settings, name='code')(sight.image, sight, train)
        return Linear({'rotation': 3, 'place': 3}, self.settings.scales, name='head')(code)


class Shape(nn.Module):
    """f_s: coefficients of the morphable model, from the aligned photograph where there is one."""

    settings: Settings
    gives: ClassVar[tuple[str, ...]] = ('identity', 'expression')

    @nn.compact
    def __call__(self, sight: Sight, train: bool) -> Groups:
        """-> the groups that it gives, [B, K]."""
        picture = sight.image if sight.aligned is None else sight.aligned
        code = Code(self.settings, name='code')(picture, sight, train)
        sizes = {name: getattr(self.settings, name) for name in self.gives}
        return Linear(sizes, self.settings.scales, name='head')(code)


class Identity(Shape):
    """The person's part of the shape, as a factor of its own."""

    gives: ClassVar[tuple[str, ...]] = ('identity',)


class Expression(Shape):
    """The moment's part of the shape, as a factor of its own."""

    gives: ClassVar[tuple[str, ...]] = ('expression',)


def skin_map(settings: Settings, channels: int, sight: Sight, train: bool) -> jax.Array:
    """Raw values in UV, [B, S, S, C], nearly 0 at the start, for a factor's ``__call__``, whose networks these become.

    By a U-net of the unwrapped photograph; without that one by encoder and decoder.
    """
    if sight.texture is None or sight.shown is None:
        picture = sight.image if sight.aligned is None else sight.aligned
        code = Code(settings, name='code')(picture, sight, train)
        decoder = Decoder(settings.texture, channels, settings.axis_name, settings.dtype, name='decoder')
        return 4 * decoder(code, train)
    more = [sight.maps[name] - 0.5 for name in sorted(sight.maps)]
    if vectors := sight.others((*VIEW, *SHAPE)):
        embedded = nn.Dense(CHANNELS, name='embedding')(flat(vectors))
        more.append(jnp.broadcast_to(embedded[:, None, None], (*sight.texture.shape[:3], CHANNELS)))
    net = UNet(channels, settings.unet, settings.axis_name, settings.dtype, name='unet')
    return net(sight.texture, sight.shown, train, jnp.concatenate(more, -1) if more else None)


class Reflectance(nn.Module):
    """f_r: the albedo in UV."""

    settings: Settings
    gives: ClassVar[tuple[str, ...]] = ('diffuse',)

    @nn.compact
    def __call__(self, sight: Sight, train: bool) -> Groups:
        """-> 'diffuse' [B, S, S, 3] linear albedo in 0..1, grey of `SKIN` at the start."""
        raw = skin_map(self.settings, 3, sight, train)
        return {'diffuse': nn.sigmoid(raw + np.log(SKIN / (1 - SKIN)))}


class Light(nn.Module):
    """f_l: light in spherical harmonics, from the photograph, T and A."""

    settings: Settings
    gives: ClassVar[tuple[str, ...]] = ('light',)

    @nn.compact
    def __call__(self, sight: Sight, train: bool) -> Groups:
        """-> 'light' [B, L²], or [B, L², 3] RGB, camera space, radiance 1 from everywhere at the start."""
        code = Code(self.settings, name='code')(sight.image, sight, train)
        shape = self.settings.shape('light')
        light = Linear({'light': math.prod(shape)}, self.settings.scales, name='head')(code)['light']
        return {'light': light.reshape(-1, *shape).at[:, 0].add(sh.GREY)}


FACTORS: dict[str, Any] = {
    'viewpoint': Viewpoint,
    'shape': Shape,
    'identity': Identity,
    'expression': Expression,
    'reflectance': Reflectance,
    'light': Light,
}


def flat(vectors: Groups) -> jax.Array:
    """[B, sum of sizes], in the order of their names."""
    return jnp.concatenate([vectors[name].reshape(len(vectors[name]), -1) for name in sorted(vectors)], -1)


def sight(image: jax.Array, groups: Groups) -> Sight:
    """Of a factor that sees these groups, before it is aligned or unwrapped."""
    return Sight(
        image,
        vectors={name: values for name, values in groups.items() if values.ndim < 4},
        maps={name: values for name, values in groups.items() if values.ndim == 4},
    )


def given_by(names: Sequence[str]) -> list[str]:
    """The groups that factors give."""
    return [group for name in names for group in FACTORS[name].gives]
