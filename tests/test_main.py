"""The edge of the commands: one line and a code for the user's mistakes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jfrecon import commands, main
from jfrecon.errors import UserError
from jfrecon.training import stages

ROOT = Path(__file__).parents[1]
CONFIG = """
from configs import dib21

def get_config(variant='plain'):
    if variant != 'plain':
        raise ValueError(f'there is only plain, not {variant}')
    config = dib21.get_config('quicktest+base')
    config.method = 'no_such'
    return config
"""


def command(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, '-m', 'jfrecon.main', *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_help_has_an_example():
    done = command('--help')
    assert done.returncode == 0
    assert 'python -m jfrecon.main --config=configs/' in done.stdout and '--workdir' in done.stdout


@pytest.mark.parametrize(
    ('arguments', 'named'),
    [
        ([], '--config=configs/quickstart.py'),
        (['--config={folder}/none.py'], 'none.py'),
        (['--config={config}:fancy'], 'there is only plain, not fancy'),
        (['--config={config}', '--config.setps=4'], 'setps'),
        (['--config={config}', '--config.steps=many'], 'many'),
        (['--config={config}', 'stray'], 'stray'),
        (['--config={config}', '--wrokdir=x'], 'wrokdir'),
        (['--config={config}', '--workdir={folder}/run', '--distributed=here'], 'HOST:PORT,PROCESSES,ID'),
        (['--config={config}', '--workdir={folder}/run'], 'no_such'),
    ],
)
def test_mistakes_are_one_line_and_code_2(tmp_path, arguments, named):
    config = tmp_path / 'config.py'
    config.write_text(CONFIG)
    done = command(*(argument.format(folder=tmp_path, config=config) for argument in arguments))
    assert done.returncode == 2, done.stderr
    assert named in done.stderr and done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
    ('setting', 'message'),
    [
        ('renderer=vrtex', "config.renderer is 'vrtex'; there are vertex, raster, raytrace, both"),
        ('steps=0', 'config.steps must be at least 1'),
    ],
)
def test_a_value_that_cannot_be_is_said_before_anything_is_trained(setting, message, tmp_path):
    config, asked = main._parse(['main', '--config=configs/dib21.py:quicktest', f'--config.{setting}'])
    with pytest.raises(UserError, match=message):
        stages.train(config, tmp_path / 'run', asked=asked)
    assert not (tmp_path / 'run').exists()


def settled(line):
    """The stages of a command line, checked as before a training: METHOD[+CHANGE] and what is set."""
    named, *assigned = line.split()
    method, plus, change = named.partition('+')
    arguments = [f'--config=configs/{method}.py:quicktest{plus}{change}', *(f'--config.{text}' for text in assigned)]
    config, asked = main._parse(['main', *arguments])
    parts = stages.configs(config, Path('nowhere'))
    stages.check(parts, asked)
    return [part for _, part in parts]


@pytest.mark.parametrize(
    ('line', 'field', 'values'),
    [
        ('dib21 steps=3', 'steps', [3, 3, 3, 3]),
        ('dib21 steps=3 stage.joint.steps=5', 'steps', [3, 3, 3, 5]),
        ('dib21 stage.joint.steps=5 steps=3', 'steps', [3, 3, 3, 5]),
        ('dib21 renderer=raytrace', 'renderer', ['raytrace'] * 4),
        ('dib21 stage.base.renderer=raytrace', 'renderer', ['raytrace', *['vertex'] * 3]),
        ('dib21 stage.base.renderer=raytrace samples=4', 'samples', [4] * 4),
        ('dib21 loss.symmetry=1.5', 'loss.symmetry', [1.5] * 4),
        ('dib21 stages=base', 'steps', [8]),
        ('dib21+base solve_light=True', 'solve_light', [True]),
        ('dib21 optimiser.groups={"encoder":0.0}', 'optimiser.groups.encoder', [0.0] * 4),
        ('s2f2 optimiser.learning_rate=1e-5', 'optimiser.learning_rate', [1e-5] * 3),
        ('yang21 stage.prior.renderer=raytrace', 'renderer', ['raytrace', 'raster']),
        ('yang21 light=coarse', 'light', ['coarse', 'coarse']),
        ('cest factors.light=viewpoint', 'factors.light', [('viewpoint',)]),
    ],
)
def test_what_is_set_is_obeyed(line, field, values):
    parts = settled(line)
    assert [part[field] for part in parts] == values


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        # values that no code knows
        ('dib21 renderer=vrtex', "stage base: config.renderer is 'vrtex'; there are vertex, raster"),
        ('dib21 stage.joint.renderer=vrtex', "stage joint: config.renderer is 'vrtex'"),
        ('dib21 network.backbone=resnet34', "'resnet34'; there are small, resnet18, resnet50"),
        ('cest network.backbone=resnet34', "'resnet34'; there are small, resnet18, resnet50"),
        ('cest network.unet=vgg19', "'vgg19'; there are vgg16, small"),
        ('s2f2 network.detail=vgg19', "'vgg19'; there are vgg16, small"),
        ('dib21 network.dtype=float8', "'float8'; there are float32, bfloat16, float16"),
        ('dib21 network.texture=20', 'is 20; decoders make maps of 8, 16, 32'),
        ('dib21 network.decoders=3', 'is 3; there are 1 or 2'),
        ('dib21 network.scales={"liht":2.0}', 'config.network.scales.liht: the network gives'),
        ('cest network.scales={"albedo":2.0}', 'config.network.scales.albedo: the network gives'),
        ('dib21 energy=last', "'last'; there are base, albedo, joint"),
        ('yang21 light=dim', "'dim'; there are detailed, coarse"),
        ('dib21 domain=lab', "'lab'; there are linear, srgb"),
        ('dib21 optimiser.name=adagrad', "there is no 'adagrad', only adam, sgd"),
        ('dib21 optimiser.schedule=linear', "there is no 'linear', only constant, cosine"),
        ('dib21 optimiser.groups={"enocder":0.0}', "no parameters start with 'enocder', only"),
        ('dib21 data.source=disk', "'disk'; there are synthetic, folder, shards, tfds"),
        ('dib21 data.crop=square', "'square'; there are whole, landmarks, prepared"),
        ('dib21 data.jitter={"color":0.1}', 'config.data.jitter.color: there are scale, shift'),
        ('dib21 model.name=smpl', "no morphable model 'smpl'"),
        ('dib21 method=mofa', "config.method is 'mofa'; there are cest, dib21"),
        ('dib21 method=cest', 'the config has no field factors'),
        ('cest factors.light=glamour', "there is no factor 'glamour'"),
        ('cest light_colour=red', "'red'; there are white, rgb"),
        ('cest reconstructions=theirs', "'theirs'; there are own, other"),
        ('cest batch_size=6', 'clips of 4 frames'),
        ('dib21 batch_size=0', 'config.batch_size must be at least 1'),
        ('dib21 stages=medium', "config.stages names 'medium'"),
        # files that are not there
        ('dib21 start_from=nothing', 'config.start_from: no such file or folder: nothing'),
        ('dib21 data.source=folder data.path=nothing', 'config.data.path: no such folder: nothing'),
        ('dib21 data.source=folder', 'needs --config.data.path'),
        ('yang21 loss.cross=0.5 identity=no.pth', 'config.identity: no such file or folder: no.pth'),
        # settings that nothing has a use for
        ('dib21 data.path=tests', 'config.data.path: synthetic faces are made, not read'),
        ('dib21 data.landmarks=a.npz', 'config.data.landmarks: synthetic faces are made'),
        ('dib21 data.landmarks_key=points', '--config.data.landmarks_key has no effect'),
        ('dib21 data.masks=tests', 'config.data.masks: synthetic faces are made'),
        ('dib21 data.split=test', '--config.data.split has no effect'),
        ('dib21 data.held_out=1.0', 'config.data.held_out is a share from 0 to below 1'),
        ('dib21 data.source=folder data.path=tests', 'the images of tests have neither landmarks nor masks'),
        ('dib21 data.source=folder data.path=tests data.masks=no', 'config.data.masks: no such folder: no'),
        (
            'dib21 data.source=shards data.path=tests data.masks=tests',
            'a folder of masks is for config.data.source=folder',
        ),
        ('cest data.source=tfds data.path=celeb_a', 'the images of celeb_a have neither'),
        ('dib21 data.source=folder data.path=tests data.masks=parser data.faces=3', 'data.faces has no effect'),
        ('dib21 data.source=shards data.path=tests data.landmarks=a.npz', 'has its own; leave'),
        ('dib21 data.source=folder data.path=tests data.crop=prepared', 'is for config.data.s'),
        ('dib21 network.weights=a.pth', 'there are none for the backbone small, only for resnet18'),
        ('s2f2 network.detail_weights=a.pth', 'there are none for U-nets over small'),
        ('yang21 renderer=raytrace', "stage refine: config.renderer is 'raytrace'; there are raster; other stages"),
        ('yang21 renderer=raytrace', 'other stages can: --config.stage.prior.renderer'),
        ('yang21 stage.prior.light=coarse', '--config.stage.prior.light has no effect'),
        ('yang21 identity=a.pth', '--config.identity has no effect'),
        ('yang21 samples=16', '--config.samples has no effect'),
        ('dib21 samples=16', '--config.samples has no effect: nothing reads it where config.method=dib21, '),
        ('dib21 samples=16', 'config.energy=base or albedo or joint, config.renderer=vertex; leave it out'),
        ('dib21+base network.decoders=1', '--config.network.decoders has no effect'),
        ('dib21+base loss.symmetry=1.5', '--config.loss.symmetry has no effect'),
        ('dib21 loss.photo=1.5', '--config.loss.photo has no effect'),
        ('dib21 stage.base.loss.symmetry=1.5', '--config.stage.base.loss.symmetry has no effect'),
        ('dib21 stages=base stage.joint.steps=3', 'config.stages has base, not joint'),
        ('dib21 solve_light=True stage.joint.renderer=raytrace', 'config.solve_light needs'),
        ('cest+iest network.unet=vgg16', '--config.network.unet has no effect'),
        # and weights that do not go with the terms
        ('dib21 loss={"photo":1.0}', 'config.loss has no weight for the term vertex of dib21'),
    ],
)
def test_what_cannot_be_obeyed_is_an_error(line, message):
    with pytest.raises(UserError) as raised:
        settled(line)
    assert message in str(raised.value) and '\n' not in str(raised.value)


def test_default_workdir():
    assert main.default_workdir('configs/dib21.py') == 'runs/dib21'
    assert main.default_workdir('/else/where/cest.py:iest') == 'runs/cest_iest'


def test_alone_unless_launched_together(monkeypatch):
    """An allocation's variables without a launcher's (a shell under salloc, a pod) do not make a cluster."""
    monkeypatch.setenv('SLURM_NTASKS', '8')
    monkeypatch.setenv('KUBERNETES_SERVICE_HOST', '10.0.0.1')
    monkeypatch.setenv('SLURM_STEP_NUM_TASKS', '1')
    main.join('auto')
    monkeypatch.delenv('KUBERNETES_SERVICE_HOST')
    monkeypatch.setenv('OMPI_COMM_WORLD_SIZE', '2')
    with pytest.raises(UserError, match='--distributed=cluster: '):
        main.join('auto')  # pretends to be launched, but JAX finds nothing to join


def fails(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ('main', 'code', 'said'),
    [
        (lambda: None, 0, ''),
        (lambda: 7, 7, ''),
        (fails(UserError('two\n  lines')), 2, 'error: two lines\n'),
        (
            fails(FileNotFoundError(2, 'No such file or directory', 'face.png')),
            2,
            'error: face.png: No such file',
        ),
        (fails(OSError(28, 'No space left on device')), 2, 'error: No space left on device\n'),
    ],
)
def test_exit_codes(main, code, said, capsys, monkeypatch):
    monkeypatch.setattr(commands, '_keep_compilations', lambda: None)
    with pytest.raises(SystemExit) as exited:
        commands.run(main)
    assert exited.value.code == code
    assert capsys.readouterr().err.startswith(said)


def test_our_own_mistakes_keep_their_traceback(monkeypatch):
    monkeypatch.setattr(commands, '_keep_compilations', lambda: None)
    with pytest.raises(KeyError):
        commands.run(fails(KeyError('bug')))
    with pytest.raises(OSError):
        commands.run(fails(OSError(5, 'Input/output error')))


def test_ctrl_c_leaves_at_once():
    """Also while a thread is busy that an orderly exit would wait for."""
    program = (
        'import signal, threading, time; from jfrecon import commands\n'
        'signal.signal(signal.SIGINT, signal.default_int_handler)\n'  # a job in the background is born deaf to it
        'def main():\n'
        '    threading.Thread(target=time.sleep, args=(60,)).start()\n'
        '    print("up", flush=True)\n'
        '    time.sleep(60)\n'
        'commands.run(main)'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == 'up\n'
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and said == 'interrupted\n'
    assert time.monotonic() - begun < 30  # not the thread's 60


@pytest.mark.parametrize('chosen', [None, '/some/where', ''])
def test_compiled_programs_are_kept_unless_told_otherwise(chosen, tmp_path):
    told = 'JAX_COMPILATION_CACHE_DIR', 'JFRECON_CACHE'
    environment = {name: value for name, value in os.environ.items() if name not in told}
    environment |= {'XDG_CACHE_HOME': str(tmp_path)} | ({} if chosen is None else {'JAX_COMPILATION_CACHE_DIR': chosen})
    program = (
        'from jfrecon import commands\nimport jax\ncommands.run(lambda: print(jax.config.jax_compilation_cache_dir))'
    )
    done = subprocess.run([sys.executable, '-c', program], cwd=ROOT, env=environment, capture_output=True, text=True)
    expected = {None: f'{tmp_path}/jfrecon/compiled', '': 'None'}.get(chosen, chosen)
    assert done.stdout == expected + '\n', done.stderr
