"""What every command does at its edge: one clear line for the user's errors, a code for the shell."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from absl import logging

from jfrecon.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT)


def run(main: Callable[[], int | None]) -> None:
    """Runs a command and leaves the process with its exit code.

    0 or what ``main`` returns; 2 after bad input (UserError, a file that cannot be read or written, a full disk), which
    gets one line on stderr and no traceback; 130 after Ctrl-C. Anything else is our mistake and keeps its traceback.
    """
    logging.set_verbosity(logging.WARNING)
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


def _complain(message: str) -> int:
    print('error:', ' '.join(message.split()), file=sys.stderr, flush=True)
    return 2
