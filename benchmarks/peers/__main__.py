"""``python -m benchmarks.peers``: peers on equal terms."""

from benchmarks.peers.command import peers
from learned_index.cli.shared.common import errors_as_lines, terminated_as_exit

if __name__ == "__main__":
    with errors_as_lines(), terminated_as_exit():
        peers(prog_name="python -m benchmarks.peers")
