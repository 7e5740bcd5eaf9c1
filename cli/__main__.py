"""``python -m learned_index.cli`` is ``li``."""

from learned_index.cli.main import main

if __name__ == "__main__":
    main(prog_name="li")
