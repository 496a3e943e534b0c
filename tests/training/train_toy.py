"""``python train_toy.py WORKDIR STEPS [name=value ...]``: a training for tests that stop or kill it."""

from __future__ import annotations

import sys

from jfrecon import commands
from jfrecon.main import join


def main() -> None:
    options = dict(argument.split('=') for argument in sys.argv[3:])
    join(options.pop('distributed', 'off'))

    # importing these may already touch the devices
    from jfrecon.training.loop import train
    from tests.training import toy

    method = toy.Toy(float(options.pop('noise', 0)))
    changes = {name: int(value) for name, value in options.items()}
    train(toy.config(steps=int(sys.argv[2]), **changes), sys.argv[1], method, toy.Data(pause=0.01))


if __name__ == '__main__':
    commands.run(main)
