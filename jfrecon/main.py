"""Train a method.

    python -m jfrecon.main --config=configs/METHOD.py[:variant] [--workdir=DIR] [--config.key=value ...]

For example, in a minute and on any computer:

    python -m jfrecon.main --config=configs/dib21.py:quicktest --config.batch_size=8

If DIR (by default runs/<config>[_<variant>]) holds a checkpoint, the run goes on from there. A config with stages
(config.stages) trains one after another, each in a folder of its own in DIR. Ctrl-C and
SIGTERM save before they stop it; the same command resumes.

On several machines, start one process on each (or one for each accelerator). Under Slurm's srun and Open
MPI's mpirun they find each other by themselves (--distributed=auto); --distributed=cluster asks JAX to find
out, which Kubernetes needs; elsewhere say where: --distributed=HOST:PORT,PROCESSES,ID.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from jfrecon import commands
from jfrecon.errors import UserError

CONFIG = config_flags.DEFINE_config_file('config', None, 'The experiment, a file with get_config().')
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
    _parse(sys.argv)
    join(DISTRIBUTED.value)

    # After the flags, because it takes seconds, and after joining, because it may touch the devices.
    from jfrecon.training.meter import Diverged
    from jfrecon.training.parallel import share_cores
    from jfrecon.training.stages import train

    workdir = WORKDIR.value or default_workdir(config_flags.get_config_filename(flags.FLAGS['config']))
    share_cores(CONFIG.value.get('batch_size', 1) // CONFIG.value.get('data', {}).get('frames', 1))
    try:
        train(CONFIG.value, workdir)
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


def _parse(argv: list[str]) -> None:
    try:
        rest = flags.FLAGS(argv)[1:]
        if flags.FLAGS['config'].value is not None:
            CONFIG.value.to_dict()  # a file that could not be loaded says so only when it is used
    except (KeyError, AttributeError) as error:
        raise UserError(f'the config has no field {error}') from None
    except (flags.Error, TypeError, ValueError, OSError, ImportError) as error:
        # what goes wrong inside of a config file comes as a whole traceback, whose last line says it
        reason = re.sub(r'^\w+(Error|Exception): ', '', str(error).strip().splitlines()[-1].strip())
        raise UserError(f'{reason} (see --help)') from None
    if rest:
        raise UserError(f'{rest[0]!r} is not a flag (see --help)')
    if flags.FLAGS['config'].value is None:
        raise UserError('which config? for example --config=configs/quickstart.py (see --help)')


if __name__ == '__main__':
    commands.run(main)
