"""Kinematics and gravity of a serial arm in torch: differentiable as often as one likes, and cheap as an ONNX graph."""

from __future__ import annotations

import numpy as np
import pinocchio
import torch
from torch import Tensor, nn

from dpvp.errors import ModelMismatchError
from dpvp.plan import Array


class Chain(nn.Module):
    """A fixed-base chain of revolute joints, as pinocchio's model has it.

    Joint j turns its link by R(q) = 1 + sin q K + (1 - cos q) K², with K the cross product with its axis (Rodrigues),
    so that its placement is affine in (sin q, cos q). Products of placements give the pose of every link, of which

        J_j = axis_j × (p - o_j)                                  how the frame at p moves with joint j, at o_j
        tau_j = axis_j · Σ_{i≥j} m_i (c_i - o_j) × (-g)           what carries the links i, with centres of mass c_i

    (R. Featherstone, "Rigid Body Dynamics Algorithms", 2008, §4 and §5). All that does not depend on q sits in constant
    matrices, because a graph of few operations is a fast one.
    """

    bias: Tensor
    placements: Tensor
    to_position: Tensor
    to_jacobian: Tensor
    to_gravity: Tensor
    total: Tensor

    def __init__(self, model: pinocchio.Model, frame: str) -> None:
        """Read the chain and the `frame` that is of interest; buffers are float64 until moved.

        Raises:
            ModelMismatchError: the model is not such a chain, or has no such frame.
        """
        super().__init__()
        axes = joint_axes(model)
        if not model.existFrame(frame):
            raise ModelMismatchError(f"frame of {model.name}", "one of its frames", frame)
        self._n = len(axes)
        bias, *moving = _placements(model, axes)
        readout = _Readout(model, axes, frame)
        buffers = {
            "bias": bias,
            "placements": np.stack(moving),
            "to_position": readout.position(),
            "to_jacobian": readout.jacobian(),
            "to_gravity": readout.gravity(),
            "total": np.repeat(np.eye(self._n), 3, axis=0),
        }
        for name, values in buffers.items():
            self.register_buffer(name, torch.from_numpy(values))

    def position(self, q: Tensor) -> Tensor:
        """Return the positions (B, 3) of the frame in the world, m, in the postures (B, nq), rad."""
        return self.poses(q) @ self.to_position

    def jacobian(self, q: Tensor) -> Tensor:
        """Return the Jacobians (B, 3, nv) of `position`, m/rad, in the postures (B, nq), rad."""
        factors = torch.chunk(self.poses(q) @ self.to_jacobian, 4, dim=1)
        return (factors[0] * factors[1] - factors[2] * factors[3]).reshape(-1, 3, self._n)

    def turn(self, q: Tensor) -> Tensor:
        """Return the rotations (B, 3, 3) of the first link in the postures (B, nq), rad."""
        return self.poses(q)[:, :12].reshape(-1, 3, 4)[:, :, :3]

    def gravity(self, q: Tensor) -> Tensor:
        """Return the torques (B, nv), Nm, that balance gravity in the postures (B, nq), rad."""
        levers, moments = torch.chunk(self.poses(q) @ self.to_gravity, 2, dim=1)
        return (levers * moments) @ self.total

    def poses(self, q: Tensor) -> Tensor:
        """Upper three rows of the pose of every link in the world, one after the other: (B, 12n)."""
        circle = torch.cat([torch.sin(q), torch.cos(q)], dim=1)
        rows = torch.addmm(self.bias, circle, self.placements).reshape(-1, 4 * self._n - 1, 4)
        first, *others = torch.split(rows, [3] + [4] * (self._n - 1), dim=1)
        poses = [first]
        for placement in others:
            poses.append(poses[-1] @ placement)
        return torch.cat(poses, dim=1).reshape(-1, 12 * self._n)


def joint_axes(model: pinocchio.Model) -> Array:
    """Axes (n, 3) of the joints, each in its own frame."""
    axes: list[Array] = []
    for joint, parent, name in list(zip(model.joints, model.parents, model.names, strict=True))[1:]:
        data = joint.createData()
        joint.calc(data, pinocchio.neutral(model))
        motion = np.reshape(data.S, (6, -1))
        if parent != len(axes) or joint.nq != 1 or np.any(motion[:3]):
            found = f"{joint.shortname()} `{name}` on joint {parent}"
            raise ModelMismatchError(f"joints of {model.name}", "a chain of revolute joints of one angle each", found)
        axes.append(motion[3:, 0])
    return np.array(axes)


def _placements(model: pinocchio.Model, axes: Array) -> Array:
    """Parts (1 + 2n, 16n - 4) of all placements in their joints' parents that go with 1, sin q and cos q.

    Rows of the n homogeneous matrices one after the other, of the first without the last.
    """
    n = len(axes)
    parts = np.zeros((1 + 2 * n, n, 4, 4))
    for joint, (axis, placement) in enumerate(zip(axes, list(model.jointPlacements)[1:], strict=True)):
        cross = pinocchio.skew(axis)
        for row, rotation in ((0, np.eye(3) + cross @ cross), (1 + joint, cross), (1 + n + joint, -cross @ cross)):
            parts[row, joint, :3, :3] = placement.rotation @ rotation
        parts[0, joint, :3, 3], parts[0, joint, 3, 3] = placement.translation, 1.0
    return np.delete(parts.reshape(1 + 2 * n, 4 * n, 4), 3, axis=1).reshape(1 + 2 * n, -1)


class _Readout:
    """Matrices (12n, ...) that make points, axes and moments in the world of the poses of all links."""

    def __init__(self, model: pinocchio.Model, axes: Array, frame: str) -> None:
        self._n, self._axes, self._model = len(axes), axes, model
        place = model.frames[model.getFrameId(frame)]
        self._tip, self._at = int(place.parentJoint) - 1, place.placement.translation

    def position(self) -> Array:
        """Of the frame: p (3)."""
        return self._rows(self._point(self._tip, self._at)[:, :, None])

    def jacobian(self) -> Array:
        """Of the products in axis × (p - o): a_y, b_z, a_z, b_y for the first row, 3n each, row by row."""
        levers = np.zeros((self._n, 4, self._n))
        for joint in range(self._tip + 1):  # those beyond do not move the frame
            levers[:, :, joint] = self._point(self._tip, self._at) - self._point(joint, np.zeros(3))
        axis, lever = (self._rows(part).reshape(-1, 3, self._n) for part in (self._directions(), levers))
        factors = axis[:, [1, 2, 0]], lever[:, [2, 0, 1]], axis[:, [2, 0, 1]], lever[:, [1, 2, 0]]
        return np.hstack([factor.reshape(12 * self._n, -1) for factor in factors])

    def gravity(self) -> Array:
        """Of Σ m_i (c_i - o_j) and -g × axis_j, 3n each, joint by joint.

        The torque is their product: axis · (lever × -g) = lever · (-g × axis).
        """
        levers = np.zeros((self._n, 4, self._n))
        for joint in range(self._n):
            for link, inertia in list(enumerate(list(self._model.inertias)[1:]))[joint:]:
                arm = self._point(link, inertia.lever) - self._point(joint, np.zeros(3))
                levers[:, :, joint] += inertia.mass * arm
        against = pinocchio.skew(-self._model.gravity.linear)
        lever, axis = (self._rows(part).reshape(-1, 3, self._n) for part in (levers, self._directions()))
        moment = np.einsum("sr,krj->ksj", against, axis)
        return np.hstack([part.swapaxes(1, 2).reshape(12 * self._n, -1) for part in (lever, moment)])

    def _directions(self) -> Array:
        """Axis of joint j: (n, 4, n)."""
        directions = np.zeros((self._n, 4, self._n))
        for joint, axis in enumerate(self._axes):
            directions[joint, :3, joint] = axis
        return directions

    def _point(self, link: int, place: Array) -> Array:
        """Weights (n, 4) of the columns of the links' poses in a point fixed to `link`."""
        weights = np.zeros((self._n, 4))
        weights[link] = [*place, 1.0]
        return weights

    def _rows(self, weights: Array) -> Array:
        """Matrix (12n, 3k) that applies weights (n, 4, k) to each of the three rows of the poses."""
        matrix = np.einsum("ick,rs->ircsk", weights, np.eye(3))
        return np.reshape(matrix, (12 * self._n, -1))
