"""What `make quickstart` trains: dib21's stage I on synthetic faces with the embedded head.

About nine minutes on two CPU cores. The faces are made from the MakeHuman basis that the network also uses, so the
errors say that the training works, not how it would do on people.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import dib21


def get_config() -> ConfigDict:
    config = dib21.get_config('cpu+base+solved_light')
    config.seed = 3  # settings were chosen on the faces of seed 0; the test faces of 1 to 3 have been looked at
    return config
