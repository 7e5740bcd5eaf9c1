"""``li serve``: what it refuses before it listens; what it does then is in tests/serving."""

from __future__ import annotations

import socket

from cli_cases import refused
from serving_cases import built, copied  # noqa: F401


def test_what_cannot_be_served_is_one_line(built, tmp_path, monkeypatch):  # noqa: F811
    assert "no model is named" in refused("serve")
    assert "not a directory" in refused("serve", tmp_path / "none")
    assert "two models are called" in refused("serve", built[0], built[0])
    assert "no name for a model" in refused("serve", f"a b={built[0]}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "cannot listen on 127.0.0.1" in refused("serve", built[0], "--port", port)
    short = tmp_path / "token"
    short.write_text("short")
    assert "at least 16 characters" in refused("serve", built[0], "--token-file", short)
    monkeypatch.setenv("LI_SERVE_TOKEN", "two words of sixteen characters")
    assert "LI_SERVE_TOKEN" in refused("serve", built[0])


def test_a_model_that_does_not_load_ends_the_server(built, tmp_path):  # noqa: F811
    broken = copied(built[0], tmp_path)
    (broken / "labels.txt").write_bytes(b"x" * (broken / "labels.txt").stat().st_size)
    for workers in (1, 2):
        line = refused("serve", broken, "--port", 0, "--workers", workers)
        assert "checksum" in line
