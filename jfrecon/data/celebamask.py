"""CelebAMask-HQ (Lee et al. 2020, arXiv 1907.11922) as it is unpacked: photographs with a mask of their faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from jfrecon.data import images
from jfrecon.data.sample import Sample, Source, Unreadable, check
from jfrecon.errors import UserError

PHOTOS, MASKS = 'CelebA-HQ-img', 'CelebAMask-HQ-mask-anno'
PER_FOLDER = 2_000
SKIN = ('skin', 'nose', 'l_brow', 'r_brow', 'u_lip', 'l_lip')
BEFORE = ('l_eye', 'r_eye', 'mouth', 'hair', 'hat', 'eye_g')  # what is no skin, whatever the others say
BORDER = 0.15  # between the mask and the edges of its box, in sides of the mask


class CelebAMaskHQ(Source):
    """Its 30,000 photographs; landmarks are unknown, the box is the square around the skin."""

    def __init__(self, folder: str | Path):
        super().__init__()
        self._folder = Path(folder)
        for part in (PHOTOS, MASKS):
            if not (self._folder / part).is_dir():
                raise UserError(
                    f'{self._folder / part} is not there: unpack CelebAMask-HQ.zip '
                    '(github.com/switchablenorms/CelebAMask-HQ) and name its folder'
                )
        found = (path.stem for path in (self._folder / PHOTOS).glob('*.jpg'))
        self._numbers = sorted(int(stem) for stem in found if stem.isdigit())

    def __len__(self) -> int:
        return len(self._numbers)

    def name(self, index: int) -> str:
        """The photograph's, relative to the folder."""
        return f'{PHOTOS}/{self._numbers[index]}.jpg'

    def read(self, index: int) -> Sample:
        """The sample at an index; raises ``Unreadable``."""
        photo = images.read(self._folder / self.name(index)).sample(name=self.name(index))
        number = self._numbers[index]
        part = lambda name: self._folder / MASKS / str(number // PER_FOLDER) / f'{number:05d}_{name}.png'
        if not part('skin').exists():
            raise Unreadable(f'{part("skin")} is not there')
        mask = np.zeros(photo.image.shape[:2], bool)
        for names, value in ((SKIN, True), (BEFORE, False)):
            for path in filter(Path.exists, map(part, names)):
                # masks have half of the photographs' resolution
                layer = Image.fromarray(images.read_mask(path))
                layer = layer.resize(photo.image.shape[1::-1], Image.Resampling.NEAREST)
                mask[np.asarray(layer) > 127] = value
        if not mask.any():
            raise Unreadable('its mask is empty')
        rows, columns = np.nonzero(mask)
        low, high = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()]) + 1
        side = float((high - low).max()) * (1 + 2 * BORDER)
        box = (*((low + high - side) / 2), side)
        return check(photo.replace(mask=np.uint8(255) * mask, box=box))
