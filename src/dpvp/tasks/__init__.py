"""What is wanted of a robot: one file per task.

Whoever needs crocoddyl imports this package first: it loads crocoddyl without pinocchio's viewers.
"""

from __future__ import annotations

import sys
from typing import Any, cast

_VIEWERS_LOAD = ("imageio", "trimesh")


def _load_crocoddyl() -> None:
    """Load crocoddyl in a tenth of the time, which every node and solver process would otherwise spend at its start.

    crocoddyl asks pinocchio for its viewers, and these load what they draw with: trimesh, and with it scipy and
    networkx. They do without what is not installed, so they find none of it; and they are forgotten afterwards, so
    that whoever imports pinocchio.visualize later gets them whole.
    """
    modules = cast("dict[str, Any]", sys.modules)
    if "pinocchio.visualize" in modules:
        return
    withheld = [name for name in _VIEWERS_LOAD if name not in modules]
    modules |= dict.fromkeys(withheld)  # to `import`, None is a module that is not there
    try:
        import crocoddyl  # noqa: F401
    finally:
        for name in [*withheld, *(name for name in modules if name.startswith("pinocchio.visualize"))]:
            del modules[name]


_load_crocoddyl()
