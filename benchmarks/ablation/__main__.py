"""``python -m benchmarks.ablation``: what each part of the model brings."""

from benchmarks.ablation.command import ablate
from learned_index.cli.shared.common import errors_as_lines, terminated_as_exit

if __name__ == "__main__":
    with errors_as_lines(), terminated_as_exit():
        ablate(prog_name="python -m benchmarks.ablation")
