"""What every command does at its edge: one clear line for the user's errors, a code for the shell."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

from absl import logging

from jfrecon.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT)


def run(main: Callable[[], int | None]) -> None:
    """Runs a command and leaves the process with its exit code.

    0 or what ``main`` returns; 2 after bad input (UserError, a file that cannot be read or written, a full
    disk), which gets one line on stderr and no traceback; 130 after Ctrl-C. Anything else is our mistake and
    keeps its traceback.
    """
    logging.set_verbosity(logging.WARNING)
    _keep_compilations()
    try:
        code = main()
    except UserError as error:
        code = _complain(str(error))
    except OSError as error:
        if error.filename is None and error.errno not in FULL:
            raise
        named = f'{error.filename}: ' if error.filename is not None else ''
        code = _complain(f'{named}{error.strerror}')
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr, flush=True)
        sys.stdout.flush()
        # not sys.exit: it would wait for threads that compile or make batches nobody wants any more
        os._exit(130)
    sys.exit(code or 0)


def _keep_compilations() -> None:
    """Lets JAX keep compiled programs in the user's cache, or where JAX_COMPILATION_CACHE_DIR says (or not).

    From the second time on a ResNet-18 starts within 5 seconds instead of 40 on two CPU cores, with the same
    bits.
    """
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'jfrecon' / 'compiled'
    folder = os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(cache))
    if 'jax' in sys.modules:  # which has read the environment already
        sys.modules['jax'].config.update('jax_compilation_cache_dir', folder or None)


def _complain(message: str) -> int:
    print('error:', ' '.join(message.split()), file=sys.stderr, flush=True)
    return 2
