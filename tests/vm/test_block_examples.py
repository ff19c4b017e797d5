"""The examples of refusing do what their READMEs say, command by command."""

from __future__ import annotations

import shutil

import pytest

from tests.live.tracer import ROOT
from tests.vm import readme


@pytest.mark.parametrize("example", ["serverless", "install-script"])
def test_the_commands_of_the_readme(example, tmp_path):
    place = f"/tmp/isotrace-{'install' if example == 'install-script' else example}"
    shutil.rmtree(place, ignore_errors=True)
    try:
        readme.run(ROOT / "examples" / example / "README.md", tmp_path)
    finally:
        shutil.rmtree(place, ignore_errors=True)
