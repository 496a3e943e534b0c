"""jfrecon COMMAND: all commands by one name.

`jfrecon reconstruct ME.jpg --out=faces` is `python -m jfrecon.reconstruct ME.jpg --out=faces`.
"""

from __future__ import annotations

import runpy
import sys

COMMANDS = {
    'reconstruct': 'make relightable heads of photographs and videos',
    'relight': 'show a reconstructed face in other light, edited, or with parts of another',
    'landmarks': 'find faces and their landmarks',
    'demo': 'serve a page on this machine where photographs become heads',
    'prepare': 'cut faces out of photographs and videos to train on',
    'main': 'train a method',
    'evaluate': 'score a network by a benchmark',
    'pack': 'write a trained network as one file',
    'assets': 'bring the data files that are read and not carried',
    'morphable': 'draw a morphable model',
    'data.synthetic': 'draw synthetic faces',
}


def main() -> None:
    """Run the command that the first argument names, in this process, with the other arguments."""
    name, *rest = sys.argv[1:] or ['--help']
    if name in ('-h', '--help'):
        print('usage: jfrecon COMMAND ...\n')
        print('\n'.join(f'  {command:15} {what}' for command, what in COMMANDS.items()))
        print('\njfrecon COMMAND --help says more; python -m jfrecon.COMMAND is the same')
        return
    if name not in COMMANDS:
        print(f'error: jfrecon {name}: there are {", ".join(COMMANDS)}', file=sys.stderr)
        sys.exit(2)
    sys.argv[1:] = rest
    runpy.run_module(f'jfrecon.{name}', run_name='__main__', alter_sys=True)


if __name__ == '__main__':
    main()
