"""`membench plan --slurm n`: a script for Slurm, with a job for each shard and one that merges.

Every job has a folder of its own, so that no two machines write into one. Slurm is told to run a
job again whose machine fails, or which is preempted; one that reaches its time limit asks for it
itself. What a job has measured by then is kept, and the same command goes on with the rest.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from membench.planning.plan import BASELINES
from membench.planning.plan import Plan
from membench.planning.shards import Shard
from membench.planning.shards import part_of

CORES = 4  #: of a job, unless `-n` says otherwise

_SCRIPT = """\
#!/bin/bash
# Submit {count} jobs that train a part each, and one that joins what they measured:
#     bash SCRIPT [OPTIONS FOR THE JOBS THAT TRAIN], as in bash SCRIPT --time=08:00:00 --gres=gpu:1
# Of an option that is given twice Slurm takes the last one. What the last job needs too, stands in
# SBATCH_ACCOUNT and SBATCH_PARTITION. Made by: membench {made_by}
#
{shards}
set -eu
mkdir -p {out}

# At the signal before the time limit a job stops membench, whose exit code 2 says that something is
# left, and asks for another turn. It is not SIGTERM, which comes with scancel and preemption too.
train=$(sbatch --parsable --job-name={name} --array=1-{count} \\
    --cpus-per-task={cores} --mem-per-cpu=3G --time=04:00:00 \\
    --requeue --signal=B:USR1@60 --open-mode=append --output={out}/slurm-%a.log "$@" <<'JOB'
#!/bin/bash
shard=$SLURM_ARRAY_TASK_ID
workers="-n ${{SLURM_CPUS_PER_TASK:-{cores}}}"
if [ -n "${{CUDA_VISIBLE_DEVICES:-}}" ]; then workers=""; fi  # membench counts the GPUs
run="" stopped="" again=""
stop() {{ stopped=yes; if [ -n "$run" ]; then kill -TERM "$run"; fi; }}
trap 'again=yes; stop' USR1
trap stop TERM
{membench} run {selection} \\
    $workers --shard "$shard/{count}" --out {out}/shard-"$shard" &
run=$!
if [ -n "$stopped" ]; then stop; fi  # the signal came before there was anything to stop
wait "$run"
code=$?
if [ -n "$stopped" ]; then  # the first wait ended with the signal
    wait "$run"
    code=$?
fi
if [ -n "$again" ] && [ "$code" -eq 2 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt 50 ]; then
    exec scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$shard"
fi
exit "$code"
JOB
)

# afterany, not afterok: a cell that failed is a result too, and makes the exit code of its job 1.
# A shard without any record is refused by name; what others lack is counted. Merge again then.
sbatch --job-name={name}-merge --dependency="afterany:${{train%%;*}}" \\
    --mem=4G --time=01:00:00 --output={out}/slurm-merge.log <<'JOB'
#!/bin/bash
exec {membench} merge {merged}
JOB
"""


def script(options: argparse.Namespace, plan: Plan) -> str:
    """Return the script that submits a plan.

    Args:
        options: of `membench plan`; `slurm` is how many jobs train.
        plan: of all that they select.

    Raises:
        MembenchError: there are more jobs than entries (exit 5).
    """
    count = int(options.slurm)
    cores = options.workers or CORES
    out = shlex.quote(str(options.out))
    selection = selection_words(options)
    made_by = ["plan", "--slurm", str(count), *selection, "--out", str(options.out)]
    if options.workers:
        made_by += ["-n", str(options.workers)]
    folders = [f"{options.out}/shard-{index}" for index in range(1, count + 1)]
    shards = []
    for index in range(1, count + 1):
        part = part_of(plan, Shard(index, count))
        entries = [entry for entry in part.manifest.entries if entry.name not in BASELINES]
        shards.append(
            f"# shard {index}: {len(entries)} entries, {len(part.cells)} cells, "
            f"at most {part.most_confirming_cells} to confirm"
        )
    return _SCRIPT.format(
        count=count,
        cores=cores,
        name=f"membench-{plan.suite.name}",
        out=out,
        made_by=shlex.join(made_by),
        selection=shlex.join(selection),
        merged=shlex.join([*folders, "--out", str(options.out), *_plugin_words(options)]),
        membench=shlex.join(_program()),
        shards="\n".join(shards),
    )


def _program() -> list[str]:
    """Return the words that start membench as it was started here; the jobs find no virtualenv."""
    program = Path(sys.argv[0])
    if program.name == "membench":
        return [str(program.absolute())]
    return [sys.executable, "-m", "membench"]


def selection_words(options: argparse.Namespace) -> list[str]:
    """Return the words that select what these options select, for `membench run`."""
    words = [] if options.expression is not None else ["--all"]
    values = {
        "-k": options.expression,
        "--suite": options.suite,
        "--grid": options.grid if options.compose else None,
        "--architectures": _joined(options.architectures),
        "--datasets": _joined(options.datasets),
        "--signals": _joined(options.signals),
        "--seeds": _joined(options.seeds),
        "--train-size": options.train_size,
        "--epochs": options.epochs,
        "--optimizer": options.optimizer,
        "--lr": options.lr,
        "--data-dir": options.data_dir,
    }
    for flag, value in values.items():
        if value is not None:
            words += [flag, str(value)]
    for flag, several in (("-r", options.compose), ("--probe", options.probes)):
        for value in several:
            words += [flag, value]
    return words + _plugin_words(options)


def _plugin_words(options: argparse.Namespace) -> list[str]:
    """Return the words of `-p`, which the merge needs too: it compares code."""
    return [word for plugin in options.plugins for word in ("-p", plugin)]


def _joined(values: Sequence[object]) -> str | None:
    return ",".join(map(str, values)) or None
