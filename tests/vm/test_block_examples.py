"""The examples of refusing do what their READMEs say, command by command."""

from __future__ import annotations

import shutil

import pytest

from tests import console
from tests.live.tracer import ROOT


@pytest.mark.parametrize(
    ("page", "place"),
    [
        ("examples/serverless/README.md", "/tmp/isotrace-serverless"),
        ("examples/install-script/README.md", "/tmp/isotrace-install"),
    ],
)
def test_the_commands_of_the_readme(page, place, tmp_path):
    shutil.rmtree(place, ignore_errors=True)
    try:
        console.run(ROOT / page, tmp_path)
    finally:
        shutil.rmtree(place, ignore_errors=True)
