"""`./lab`: the commands that a person types.

Only the standard library is imported at the top: the script `lab` shows help and does the set-up before there is a
`.venv`. What a command needs beyond that is imported when it runs.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from bpflab import setup_steps
from bpflab.manual import FAILED, INTERRUPTED, USAGE, parse, say

TREE = Path(__file__).resolve().parent.parent


def start(argv):
    """What the script `lab` calls, under any python: set-up, then the same command inside `.venv`."""
    try:
        name, options, _ = parse(argv)
        if name in ("up", "test"):
            setup_steps.prepare(TREE, tests=name == "test")
            if options.setup_only:
                print("Everything is set up.")
                return 0
        elif not setup_steps.is_ready(TREE):
            return _before_setup(name, options)
        if name == "up":
            _leave_root()
        # PYTHONPATH could put another copy of bpflab before this one.
        env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        python = str(setup_steps.venv_python(TREE))
        command = [python, "-P", "-m", "bpflab.cli", *argv]
        if name == "clean" and options.all:
            # .venv cannot well remove itself.
            return subprocess.run(command, env=env).returncode or _remove_all()
        sys.stdout.flush()
        os.execve(python, command, env)
    except setup_steps.SetupError as err:
        return say(str(err))
    except OSError as err:
        return say(f"{err.strerror}: {err.filename}" if err.filename else str(err))
    except KeyboardInterrupt:
        return say("interrupted; start again and it goes on from here", INTERRUPTED)


def _before_setup(name, options):
    """The two commands that are of use while there is no `.venv`, or an old one."""
    if name == "doctor":
        from bpflab import diagnosis

        return diagnosis.report(TREE, as_json=options.json, lab=False)
    if name == "clean" and options.all:
        return _remove_all()
    return say("not set up yet, or the lock file has changed; run ./lab up --setup-only first")


def _remove_all():
    from bpflab import compiler

    there = [path for path in (TREE / ".venv", TREE / ".cache", compiler.cache_folder()) if path.exists()]
    for path in there:
        print(f"removing {path}", flush=True)
        shutil.rmtree(path)
    return 0


def _leave_root():
    """Under `sudo ./lab up`, let Jupyter be the user who called sudo, where the lab's agent can still become root."""
    owner = setup_steps.tree_owner(TREE)
    if not owner:
        return
    groups = os.getgrouplist(owner.pw_name, owner.pw_gid)
    as_user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": groups}
    if subprocess.run(["sudo", "-n", "true"], capture_output=True, **as_user).returncode:
        print(f"JupyterLab runs as root: sudo asks {owner.pw_name} for a password, and a notebook cannot type one.")
        return
    os.setgroups(groups)
    os.setgid(owner.pw_gid)
    os.setuid(owner.pw_uid)
    os.environ |= {"HOME": owner.pw_dir, "USER": owner.pw_name, "LOGNAME": owner.pw_name}
    for name in [name for name in os.environ if name.startswith("SUDO_")]:
        del os.environ[name]


def main(argv=None):
    """What `python -m bpflab.cli` calls: the command itself, in a python that has the packages."""
    name, options, others = parse(sys.argv[1:] if argv is None else argv)
    try:
        return COMMANDS[name](options, others)
    except KeyboardInterrupt:
        return say("interrupted", INTERRUPTED)
    except Exception as err:
        from bpflab.errors import LabError

        if not isinstance(err, (LabError, OSError)):
            raise
        return say(str(err))


def _up(options, _):
    from bpflab import notebook_server

    return notebook_server.serve(TREE, port=options.port, browser=not options.no_browser)


def _test(options, others):
    import pytest

    from bpflab import vm_cli

    if options.machine:
        os.environ["BPFLAB_TEST_MACHINES"] = options.machine
    os.chdir(TREE)
    vm_cli.prepare_tests()
    return int(pytest.main(others))


def _doctor(options, _):
    from bpflab import diagnosis

    return diagnosis.report(TREE, as_json=options.json)


def _run(options, _):
    from bpflab import runner

    return runner.run(TREE, options.chapter, html=options.html, update=options.update, machine=options.machine)


def _matrix(options, _):
    from bpflab import matrix

    if options.types:
        if options.chapters:
            return say("program types belong to no chapter: give --types or chapters", USAGE)
        return matrix.write_types(TREE, options.output, options.machines)
    if options.chapters and not options.output:
        return say("a part of the chapters is not the whole table: say where to write it, --output FILE", USAGE)
    return matrix.write(TREE, options.output, options.chapters, options.machines)


def _check(options, _):
    from bpflab import exercise
    from bpflab.errors import LabError

    try:
        answer = exercise.answer_from_file(options.exercise, options.file)
    except LabError as err:
        return say(str(err), USAGE)
    result = exercise.check(options.exercise, answer)
    print(result)
    return 0 if result.solved else FAILED


def _bench(options, _):
    from bpflab import bench

    return bench.main([*(["--json"] if options.json else []), *options.only])


def _vm(options, _):
    from bpflab import vm_cli

    return vm_cli.main(options)


def _vagrant(options, _):
    from bpflab import vagrant_cli

    return vagrant_cli.main(options)


def _clean(_, __):
    from bpflab.machines import local

    removed, kept = local.clean()
    lines = [*(f"removed {what}" for what in removed), *(f"kept {what}, which runs now: a lab is open" for what in kept)]
    print("\n".join(lines) or "nothing of ours was left")
    return 0


COMMANDS = {
    "up": _up,
    "test": _test,
    "doctor": _doctor,
    "run": _run,
    "matrix": _matrix,
    "check": _check,
    "bench": _bench,
    "vm": _vm,
    "vagrant": _vagrant,
    "clean": _clean,
}

if __name__ == "__main__":
    sys.exit(main())
