"""The messages of linear_feedback_controller: one place that says what to do where they are missing."""

from dpvp.environment import require_messages

require_messages()

from linear_feedback_controller_msgs.msg import Contact, Control, Sensor  # noqa: E402

__all__ = ["Contact", "Control", "Sensor"]
