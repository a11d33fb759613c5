"""Messages that are not everywhere: those of the two packages without which nothing works, and of tf2."""

from dpvp.environment import require_messages

require_messages()

from controller_manager_msgs.msg import ControllerState  # noqa: E402
from controller_manager_msgs.srv import (  # noqa: E402
    ConfigureController,
    ListControllers,
    LoadController,
    SwitchController,
    UnloadController,
)
from linear_feedback_controller_msgs.msg import Contact, Control, Sensor  # noqa: E402

try:
    from tf2_msgs.msg import TFMessage
except ImportError:  # ROS from pip has no tf2
    TFMessage = None

__all__ = [
    "ConfigureController",
    "Contact",
    "Control",
    "ControllerState",
    "ListControllers",
    "LoadController",
    "Sensor",
    "SwitchController",
    "TFMessage",
    "UnloadController",
]
