"""Let the tests of this folder import their shared modules, which are no package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from conftest_export import _at_full_pace, client, server

__all__ = ["_at_full_pace", "client", "server"]
