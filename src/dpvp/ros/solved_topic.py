"""Topic `~/solved`: all that the solver was asked and answered, for recordings that can be replayed."""

from __future__ import annotations

from array import array

import numpy as np
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray, MultiArrayDimension

from dpvp.planning.solved import Section, Solved, to_sections
from dpvp.ros.node import COMPLETE


class SolvedTopic:
    """Notes asks with their answers and sends them when there is time.

    Attributes:
        publisher: of `~/solved`, to be destroyed with the node's others.
    """

    def __init__(self, node: Node) -> None:
        """Offer the topic on `node`."""
        self.publisher = node.create_publisher(Float64MultiArray, "~/solved", COMPLETE)
        self._untold: list[Solved] = []

    def note(self, solved: Solved) -> None:
        """Keep `solved` until the next `tell`."""
        self._untold.append(solved)

    def tell(self) -> None:
        """Send what was noted if somebody listens; to be called after commands, which are in a hurry."""
        if self._untold and self.publisher.get_subscription_count():
            for solved in self._untold:
                self.publisher.publish(sections_message(to_sections(solved)))
        self._untold.clear()


def sections_message(sections: list[Section]) -> Float64MultiArray:
    """Return numbers one after another, each section of them a dimension of the layout with its label."""
    message = Float64MultiArray()
    message.layout.dim = [MultiArrayDimension(label=name, size=len(part), stride=len(part)) for name, part in sections]
    # an array of that kind is taken as it is; of others rclpy looks at every number
    message.data = array("d", np.concatenate([part for _, part in sections]).tobytes())
    return message
