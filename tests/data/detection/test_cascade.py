from __future__ import annotations

import numpy as np
import pytest
import skimage.data

from jfrecon.data.detection.detectors import cascade


@pytest.fixture(scope='module')
def astronaut():
    return skimage.data.astronaut()


@pytest.fixture(scope='module')
def portrait(astronaut):
    return astronaut[:240, 100:340]


def test_the_astronaut_is_found_and_nothing_else(astronaut):
    """The face in scikit-image's picture spans x 170 to 280, y 70 to 180, as read off it by eye."""
    boxes = cascade.faces(astronaut)
    assert len(boxes) == 1
    x, y, side = boxes[0]
    # The eyes are near (204, 114) and (244, 110), the chin near (226, 172).
    assert x < 195 and x + side > 255 and y < 100 and y + side > 150 and 70 < side < 130


def test_boxes_are_in_pixels_of_the_photo(portrait):
    """A photo that is larger than what is searched gives the box of the small one, scaled."""
    small = cascade.faces(portrait)[0]
    large = cascade.faces(np.repeat(np.repeat(portrait, 6, axis=0), 6, axis=1))[0]
    # The search goes in steps of a tenth in size and of a pixel of its scale.
    np.testing.assert_allclose(np.array(large) / 6, small, atol=0.2 * small.side)


def test_a_mirrored_photo_gives_the_mirrored_box(portrait):
    box, mirrored = cascade.faces(portrait)[0], cascade.faces(portrait[:, ::-1])[0]
    centre = box.x + box.side / 2
    assert abs(240 - (mirrored.x + mirrored.side / 2) - centre) < 0.3 * box.side  # what two searches may differ by


@pytest.mark.parametrize('shape', [(100, 100, 3), (1, 1, 3), (20, 400, 3)])
def test_no_face(shape):
    assert cascade.faces(np.full(shape, 128, np.uint8)) == []


def test_nested_boxes_are_dropped():
    boxes = [cascade.Box(10, 10, 20), cascade.Box(0, 0, 60), cascade.Box(50, 50, 40)]
    assert cascade._largest(boxes) == [cascade.Box(0, 0, 60), cascade.Box(50, 50, 40)]
