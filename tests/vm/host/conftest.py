"""What the bench's own tests share: an empty cache, and an archive in a directory instead of a mirror."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.bench import archive
from tests.vm.host.archive_fixture import Archive


@pytest.fixture
def said() -> list[str]:
    """What the bench said."""
    return []


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "isotrace"


@pytest.fixture
def mirror(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """An archive that the bench takes for the mirror. It is not signed."""
    made = Archive(tmp_path / "mirror")
    for name in ("ISOTRACE_DEBIAN_MIRROR", "ISOTRACE_DEBIAN_SECURITY_MIRROR"):
        monkeypatch.setenv(name, made.url)
    monkeypatch.setattr(archive, "KEYRINGS", ())
    return made
