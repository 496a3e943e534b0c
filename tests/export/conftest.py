from __future__ import annotations

import json
import shutil
import subprocess

import pytest

VALIDATOR = 'gltf-validator@2.0.0-dev.3.10'
SCRIPT = """
import validator from 'gltf-validator';
import { readFileSync } from 'fs';
const found = await validator.validateBytes(new Uint8Array(readFileSync(process.argv[2])), { maxIssues: 0 });
console.log(JSON.stringify(found.issues));
"""


@pytest.fixture(scope='session')
def issues(tmp_path_factory):
    """What Khronos' validator says of the bytes of a .glb file: errors, warnings, infos and hints, as text."""
    if shutil.which('npm') is None:
        pytest.skip("Khronos' validator comes with npm, which is not here")
    folder = tmp_path_factory.mktemp('validator')
    (folder / 'package.json').write_text('{"type": "module"}')
    (folder / 'validate.js').write_text(SCRIPT)
    quiet = ['--silent', '--no-audit', '--no-fund']
    subprocess.run(['npm', 'install', *quiet, VALIDATOR], cwd=folder, check=True, timeout=120)

    def issues(content: bytes) -> list[str]:
        (folder / 'face.glb').write_bytes(content)
        command = ['node', 'validate.js', 'face.glb']
        run = subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
        found = json.loads(run.stdout)
        severity = ('error', 'warning', 'info', 'hint')
        return [f'{severity[it["severity"]]} {it["code"]}: {it["message"]}' for it in found['messages']]

    return issues
