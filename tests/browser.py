"""Chromium without a window."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import time

CHROMIUM = shutil.which('chromium') or shutil.which('google-chrome')


@contextlib.contextmanager
def browser(folder):
    """What opens a page and evaluates JavaScript in it, by Chromium's pipe for debuggers: JSON and a zero byte."""
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 64) for end in (theirs_in, theirs_out)]  # it wants them to be 3 and 4
    command = [
        str(CHROMIUM), '--headless', '--no-sandbox', '--use-angle=swiftshader', '--enable-unsafe-swiftshader',
        '--window-size=600,600', '--proxy-server=127.0.0.1:9', f'--user-data-dir={folder}', '--remote-debugging-pipe',
        'about:blank',
    ]  # fmt: skip
    start = ['bash', '-c', f'exec "$@" 3<&{theirs[0]} 4>&{theirs[1]}', 'bash', *command]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(start, pass_fds=theirs, stdout=quiet, stderr=quiet)
    for end in (theirs_in, theirs_out, *theirs):
        os.close(end)
    numbers = itertools.count(1)
    with process, open(ours_in, 'rb', 0) as answers, open(ours_out, 'wb', 0) as questions:

        def ask(method, session=None, **parameters):
            question = {'id': next(numbers), 'method': method, 'params': parameters}
            questions.write(json.dumps(question | ({'sessionId': session} if session else {})).encode() + b'\0')
            while True:
                text = b''.join(iter(lambda: answers.read(1), b'\0'))
                if (answer := json.loads(text)).get('id') == question['id']:
                    return answer['result']

        def show(url):
            target = ask('Target.createTarget', url=url)['targetId']
            session = ask('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
            return lambda what: ask('Runtime.evaluate', session, expression=what)['result'].get('value')

        try:
            yield show
        finally:
            ask('Browser.close')


def until(evaluate, what, seconds=60):
    """Wait for JavaScript to be true, and return its value."""
    for _ in range(10 * seconds):
        if value := evaluate(what):
            return value
        time.sleep(0.1)
    raise AssertionError(f'in {seconds} s never: {what}')


def drawn(evaluate, document='document'):
    """Wait for the head of a report."""
    until(evaluate, f'{document}.body?.dataset.drawn')
