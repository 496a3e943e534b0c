"""Everything random about one synthetic photograph, drawn before anything is rendered."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from jfrecon.data.synthetic import backdrop, framing, hair, lighting, people, photograph, props
from jfrecon.data.synthetic.dice import Dice
from jfrecon.morphable import skin_person, skin_tone
from jfrecon.types import MorphableModel


@struct.dataclass
class Scene:
    """One photograph to be taken; the person (first three) can be shared by several.

    Attributes:
      person: identity, expression, gaze, eyes.
      skin: what the skin is painted with.
      hair, glasses, strands, clothes: what is worn.
      lamps: the light.
      framing: pose and camera.
      backdrop: what is behind, and what may be in front of the face.
      photograph: what camera and file do to the picture.
    """

    person: people.Person
    skin: skin_person.SkinParameters
    hair: hair.Hair
    glasses: props.Glasses
    strands: props.Strands
    clothes: props.Clothes
    lamps: lighting.Lamps
    framing: framing.Framing
    backdrop: backdrop.Backdrop
    photograph: photograph.Photograph


def sample(
    model: MorphableModel, key: jax.Array, person_key: jax.Array, tone: jax.Array, focal: float, fill: float
) -> Scene:
    """A random scene.

    Args:
      model: whose coefficients are drawn.
      key: of this picture; ``person_key``: of the person in it; ``tone``: of that person's skin, see `skins.paint`.
      focal: default focal length, and `fill`: share of the landmarks' box, both in crop widths.
    """
    noise, now = jax.random.split(key)
    always, now = Dice(person_key), Dice(now)
    parameters = skin_person.sample(tone)
    person = people.sample(model, always, now)
    natural = skin_tone.hair_colour(parameters.hair_melanin, parameters.hair_pheomelanin, parameters.grey)
    style = hair.sample(natural, always)
    return Scene(
        person=person,
        skin=parameters,
        hair=style,
        glasses=props.sample_glasses(now),
        strands=props.sample_strands(jnp.where(style.cloth > 0, 0.0, style.opacity), now),
        clothes=props.sample_clothes(now),
        lamps=lighting.sample(now),
        framing=framing.sample(now, focal, fill),
        backdrop=backdrop.sample(now),
        photograph=photograph.sample(now, noise),
    )
