"""Messages that are not everywhere: those of linear_feedback_controller, without which nothing works, and of tf2."""

from dpvp.environment import require_messages

require_messages()

from linear_feedback_controller_msgs.msg import Contact, Control, Sensor  # noqa: E402

try:
    from tf2_msgs.msg import TFMessage
except ImportError:  # ROS from pip has no tf2
    TFMessage = None

__all__ = ["Contact", "Control", "Sensor", "TFMessage"]
