#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs a command at a terminal, as somebody sits there.

terminal.py [SECONDS] [REGEX KEYS]... -- COMMAND...

When what the command has written since the last keys matches REGEX, KEYS are typed: "^C" is Ctrl-C, a
backslash n is the return key. All that the command writes goes to standard output as it is. The exit
status is the command's; 124 when it does not end within SECONDS (default 600) or ends before all keys were
typed.
"""
import os
import pty
import re
import select
import signal
import sys
import time


def main():
    args = sys.argv[1:]
    cut = args.index('--')
    before, command = args[:cut], args[cut + 1:]
    limit = float(before.pop(0)) if len(before) % 2 else 600.0
    steps = [(re.compile(before[i]), before[i + 1].replace('^C', '\x03').replace('\\n', '\n'))
             for i in range(0, len(before), 2)]
    pid, fd = pty.fork()
    if pid == 0:
        os.execvp(command[0], command)
    end, text = time.monotonic() + limit, ''
    while True:
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            print('\nterminal.py: not over in time; waits for', [s[0].pattern for s in steps], file=sys.stderr)
            sys.exit(124)
        if not select.select([fd], [], [], 0.2)[0]:
            continue
        try:
            data = os.read(fd, 65536)
        except OSError:  # Linux says so when the other end is closed
            data = b''
        if not data:
            break
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        text += data.decode(errors='replace')
        while steps and steps[0][0].search(text):
            os.write(fd, steps.pop(0)[1].encode())
            text = ''
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if steps:
        print('\nterminal.py: ended before', steps[0][0].pattern, file=sys.stderr)
        sys.exit(124)
    sys.exit(status if status >= 0 else 128 - status)


main()
