# syntax=docker/dockerfile:1
# ROS 2 Jazzy with everything that a robot or a ROS simulator needs. Not built in CI.
#
#   docker build -f docker/ros.Dockerfile -t dpvp:jazzy .
#   docker run --rm -it --network host --ipc host \
#     --cap-add SYS_NICE --ulimit rtprio=98 --ulimit memlock=-1 dpvp:jazzy \
#     ros2 launch dpvp kuka_reach.launch.py mode:=mock
#
# --network host and --ipc host let DDS find the other machines and use shared memory. SYS_NICE and the two limits let
# the controller manager and the planner ask for real-time priority; on hardware the host runs a PREEMPT_RT kernel too.
# Windows of Gazebo, MuJoCo or RViz: add -e DISPLAY -v /tmp/.X11-unix:/tmp/.X11-unix, or look through foxglove_bridge.

FROM ros:jazzy

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV DEBIAN_FRONTEND=noninteractive

RUN apt-get update && apt-get install -y --no-install-recommends \
      g++ \
      make \
      python3-colcon-common-extensions \
      python3-dev \
      python3-venv \
      ros-jazzy-controller-manager-msgs \
      ros-jazzy-diagnostic-aggregator \
      ros-jazzy-foxglove-bridge \
      ros-jazzy-gz-ros2-control \
      ros-jazzy-joint-state-topic-hardware-interface \
      ros-jazzy-linear-feedback-controller \
      ros-jazzy-linear-feedback-controller-msgs \
      ros-jazzy-mujoco-ros2-control \
      ros-jazzy-robot-state-publisher \
      ros-jazzy-ros-gz \
      ros-jazzy-ros2-control \
      ros-jazzy-ros2-controllers \
      ros-jazzy-rosbag2-storage-mcap \
      ros-jazzy-rviz2 \
      ros-jazzy-xacro \
    && rm -rf /var/lib/apt/lists/*

# The numeric packages come from pip, into a virtual environment that sees apt's rclpy and messages underneath:
# - apt has pydantic 1, and its own pinocchio (linear_feedback_controller needs it); pip's crocoddyl crashes beside that.
#   LD_LIBRARY_PATH and PYTHONPATH from ROS's setup.bash would put apt's first: setup.bash below puts the wheels first.
#   The controllers still find their own libraries, whose names carry a version. `dpvp check` looks at all of this.
# - NumPy in the environment is newer than the one that apt's messages were compiled with. They touch only the array
#   fields that both share.
# - setuptools stays below 80 (ros.txt pins it): `colcon build --symlink-install` needs its `develop` command.
ENV VIRTUAL_ENV=/opt/dpvp/venv
RUN python3 -m venv --system-site-packages "$VIRTUAL_ENV"
ENV PATH="$VIRTUAL_ENV/bin:$PATH"
COPY <<'BASH' /opt/dpvp/setup.bash
source /opt/ros/jazzy/setup.bash
if [ -f /opt/dpvp/ws/install/setup.bash ]; then source /opt/dpvp/ws/install/setup.bash; fi
wheels=$VIRTUAL_ENV/lib/python3.12/site-packages
export LD_LIBRARY_PATH=$wheels/cmeel.prefix/lib:$LD_LIBRARY_PATH
export PYTHONPATH=$wheels/cmeel.prefix/lib/python3.12/site-packages:$wheels:$PYTHONPATH
export PATH=/opt/dpvp/ws/install/dpvp/lib/dpvp:$PATH
export OMP_NUM_THREADS=1
BASH

WORKDIR /opt/dpvp/ws
COPY pyproject.toml setup.py setup.cfg package.xml LICENSE README.md src/dpvp/
COPY config/constraints src/dpvp/config/constraints

# The dependencies first, in a layer of their own: they change less often than the sources.
RUN python - <<'PY' > /tmp/requirements.txt
import tomllib
project = tomllib.load(open("src/dpvp/pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
print(*project["dependencies"], *extras["sim"], *extras["record"], *extras["view"], "pytest", "setuptools", sep="\n")
PY
RUN pip install --no-cache-dir -c src/dpvp/config/constraints/ros.txt -r /tmp/requirements.txt

COPY . src/dpvp
# `python -m colcon`, not `colcon`: the executables then start with this environment's Python instead of apt's.
RUN source /opt/dpvp/setup.bash \
    && python -m colcon build --packages-select dpvp \
    && source /opt/dpvp/setup.bash \
    && dpvp check

COPY --chmod=755 <<'BASH' /entrypoint.sh
#!/bin/bash
set -e
source /opt/dpvp/setup.bash
exec "$@"
BASH
ENTRYPOINT ["/entrypoint.sh"]
CMD ["dpvp", "check"]
