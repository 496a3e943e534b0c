"""What `make quickstart` trains: dib21's stage I on synthetic faces with the embedded head.

Five to ten minutes on two CPU cores. Predictions have the light that explains the photograph best, given the network's
shape, pose and skin (`jfrecon.fitting.lighting`), so these are what it has to learn and landmarks may count for more.
The faces are made from the MakeHuman basis that the network also uses, so the errors say that the training works, not
how it would do on people.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import dib21


def get_config() -> ConfigDict:
    config = dib21.get_config('cpu+base+solved_light')
    config.loss.landmarks = 60.0
    config.data.faces = 4_000
    config.steps = 3_600
    config.seed = 3  # settings were chosen on the faces of seed 0; the test faces of 1 to 3 have been looked at
    return config
