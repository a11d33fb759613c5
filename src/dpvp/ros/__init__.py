"""The only place that knows ROS: nodes, messages, processes."""
