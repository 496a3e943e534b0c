"""Train a method.

    python -m jfrecon.main --config=configs/METHOD.py[:variant] [--workdir=DIR] [--config.key=value ...]

For example, in a minute and on any computer:

    python -m jfrecon.main --config=configs/dib21.py:quicktest --config.batch_size=8

If DIR (by default runs/<config>[_<variant>]) holds a checkpoint, the run goes on from there. A config with stages
(config.stages) trains one after another, each in a folder of its own in DIR. Ctrl-C and
SIGTERM save before they stop it; the same command resumes.

What is set is set for all stages: --config.steps=3 gives each of them 3 steps. --config.stage.joint.steps=3 is for the
stage joint alone. Whatever nothing would read, and any value that is not known, is an error before the training.

On several machines, start one process on each (or one for each accelerator). Under Slurm's srun and Open
MPI's mpirun they find each other by themselves (--distributed=auto); --distributed=cluster asks JAX to find
out, which Kubernetes needs; elsewhere say where: --distributed=HOST:PORT,PROCESSES,ID.
"""

from __future__ import annotations

import math
import os
import re
import sys
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags
from ml_collections.config_flags import config_path

from jfrecon import commands
from jfrecon.errors import UserError
from jfrecon.training import settings

# Without an argv it leaves --config.key=value alone, which `_parse` applies to the config with all of its stages.
CONFIG = config_flags.DEFINE_config_file('config', None, 'The experiment, a file with get_config().', sys_argv=[])
WORKDIR = flags.DEFINE_string('workdir', None, 'Where the run lives (default: runs/<config>[_<variant>]).')
DISTRIBUTED = flags.DEFINE_string('distributed', 'auto', "'auto', 'cluster', 'off' or HOST:PORT,PROCESSES,ID.")

# Only set by launchers that start several processes which belong together.
PROCESS_COUNTS = ('SLURM_STEP_NUM_TASKS', 'OMPI_COMM_WORLD_SIZE')


def main() -> int:
    """Reads the command line and trains."""
    if {'--help', '-h', '-help', '--helpfull'} & set(sys.argv[1:]):
        print(__doc__.strip())
        print('\nFlags:\n  --config: ' + flags.FLAGS['config'].help)
        print('  --workdir: ' + flags.FLAGS['workdir'].help)
        print('  --distributed: ' + flags.FLAGS['distributed'].help)
        return 0
    config, asked = _parse(sys.argv)
    join(DISTRIBUTED.value)

    # After the flags, because it takes seconds, and after joining, because it may touch the devices.
    from jfrecon.training.meter import Diverged
    from jfrecon.training.parallel import share_cores
    from jfrecon.training.stages import configs, train

    workdir = WORKDIR.value or default_workdir(config_flags.get_config_filename(flags.FLAGS['config']))
    clips = [part.batch_size // max(part.data.frames, 1) for _, part in configs(config, Path(workdir))]
    share_cores(max(math.gcd(*clips), 1))
    try:
        train(config, workdir, asked=asked)
    except Diverged as error:
        print('error:', error, file=sys.stderr)
        return 1
    return 0


def default_workdir(config: str) -> str:
    """runs/<config>[_<variant>] for FILE[:variant]."""
    path, _, variant = config.partition(':')
    return str(Path('runs') / '_'.join(filter(None, (Path(path).stem, variant.replace('/', '_')))))


def join(distributed: str) -> None:
    """Makes this process one of several, before JAX looks at the devices.

    Raises:
      UserError: the flag makes no sense, or there is no cluster.
    """
    import jax

    if distributed == 'auto':
        distributed = 'off'
        if any(int(os.environ.get(name, '1')) > 1 for name in PROCESS_COUNTS):
            distributed = 'cluster'
    if distributed == 'off':
        return
    if distributed == 'cluster':
        try:
            jax.distributed.initialize()
        except (ValueError, RuntimeError) as error:
            raise UserError(f'--distributed=cluster: {error}') from None
        return
    try:
        address, processes, process = distributed.split(',')
        arguments = address, int(processes), int(process)
    except ValueError:
        raise UserError(f'--distributed={distributed}: not auto, cluster, off or HOST:PORT,PROCESSES,ID') from None
    try:
        jax.distributed.initialize(*arguments)
    except (ValueError, RuntimeError) as error:
        raise UserError(f'--distributed={distributed}: {error}') from None


def _parse(argv: list[str]) -> tuple[ConfigDict, list[str]]:
    """The config as the command line sets it, its stages whole, and the names of what was set."""
    try:
        flags.FLAGS.set_gnu_getopt()
        rest = flags.FLAGS(argv, known_only=True)
        if flags.FLAGS['config'].value is None:
            raise UserError('which config? for example --config=configs/quickstart.py (see --help)')
        config = settings.whole(CONFIG.value)  # a file that could not be loaded says so only when it is used
        settings.require(config, _names(rest))
        overrides = flags.FlagValues()
        config_flags.DEFINE_config_dict('config', config, flag_values=overrides, sys_argv=rest)
        rest = overrides(rest)[1:]
        asked = [
            '.'.join(map(str, config_path.split(name)))
            for name in config_flags.get_override_values(overrides['config'])
        ]
    except UserError:
        raise
    except (KeyError, AttributeError) as error:
        raise UserError(f'the config has no field {error}') from None
    except (flags.Error, TypeError, ValueError, OSError, ImportError) as error:
        # what goes wrong inside of a config file comes as a whole traceback, whose last line says it
        reason = re.sub(r'^\w+(Error|Exception): ', '', str(error).strip().splitlines()[-1].strip())
        raise UserError(f'{reason} (see --help)') from None
    if rest:
        raise UserError(f'{rest[0]!r} is not a flag (see --help)')
    settings.obey(config, asked)
    return config, asked


def _names(arguments: list[str]) -> list[str]:
    """The fields that --config.NAME, or --noconfig.NAME, are to set."""
    found = [re.match(r'--?(?:no)?config\.([^=]*)', argument) for argument in arguments]
    return ['.'.join(map(str, config_path.split(match[1]))) for match in found if match]


if __name__ == '__main__':
    commands.run(main)
