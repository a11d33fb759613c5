"""Where the feet are and how they move, seen from the IMU: what leg kinematics tell the base estimator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pinocchio

from dpvp.errors import ModelMismatchError
from dpvp.plan import Array

ROOT = 1  # index of the joint that carries the base
FREE = 7, 6  # numbers of a free-flyer in q and in v


@dataclass(frozen=True)
class FeetMotion:
    """Motion of the feet relative to the IMU as if that stood still, each (n_feet, 3) in the frame of the IMU.

    Attributes:
        position: of the foot frames, m.
        velocity: of the foot frames, m/s.
        spin: angular velocity of the links that carry them, rad/s.
    """

    position: Array
    velocity: Array
    spin: Array


class LegKinematics:
    """Forward kinematics of a legged robot; owns pinocchio data, so that one thread at a time may ask.

    Attributes:
        feet: names of the foot frames, in the order of everything that is per foot.
        joint_names: of the driven joints, in the order of `q` and `v`.
        imu: placement of the IMU in the base.
    """

    def __init__(self, model: pinocchio.Model, feet: Sequence[str], imu: str) -> None:
        """Look up the frames `feet` and `imu`, the latter fixed to the base, in `model`.

        Raises:
            ModelMismatchError: the model's root is no free-flyer, a joint behind it is none of one number, a frame is
                missing, or the IMU is not fixed to the base.
        """
        self.feet = tuple(feet)
        self.joint_names = tuple(model.names)[ROOT + 1 :]
        _check(model, [*feet, imu], imu)
        self.imu = model.frames[model.getFrameId(imu)].placement.copy()
        self._model, self._data = model, model.createData()
        self._frames = [model.getFrameId(name) for name in feet]

    def measure(self, q: Array, v: Array) -> FeetMotion:
        """Return the motion of the feet for joint positions `q` (n,) rad and velocities `v` (n,) rad/s."""
        still = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
        model, data = self._model, self._data
        pinocchio.forwardKinematics(model, data, np.concatenate([still, q]), np.concatenate([np.zeros(6), v]))
        aligned = pinocchio.ReferenceFrame.LOCAL_WORLD_ALIGNED
        twists = [pinocchio.getFrameVelocity(model, data, frame, aligned).vector for frame in self._frames]
        places = [pinocchio.updateFramePlacement(model, data, frame).translation for frame in self._frames]
        turn = self.imu.rotation  # rows of vectors times it: from the base to the IMU
        moving = np.array(twists)
        position = (np.array(places) - self.imu.translation) @ turn
        return FeetMotion(position, moving[:, :3] @ turn, moving[:, 3:] @ turn)


def _check(model: pinocchio.Model, frames: Sequence[str], imu: str) -> None:
    numbers = [(joint.nq, joint.nv) for joint in model.joints][ROOT:]
    if not numbers or numbers[0] != FREE or any(pair != (1, 1) for pair in numbers[1:]):
        joints = ", ".join(
            f"{name} ({joint.shortname()})" for name, joint in zip(model.names, model.joints, strict=True)
        )
        raise ModelMismatchError("joints of a legged robot", "a free-flyer, then joints of one number", joints)
    for name in frames:
        if not model.existFrame(name):
            known = ", ".join(frame.name for frame in model.frames)
            raise ModelMismatchError("frames of a legged robot", name, "no such frame", f"there are {known}")
    parent = model.frames[model.getFrameId(imu)].parentJoint
    if parent != ROOT:
        raise ModelMismatchError(f"parent of IMU frame {imu}", model.names[ROOT], model.names[parent])
