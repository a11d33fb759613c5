"""Inverse dynamics of a serial arm in torch: what torques a motion takes."""

from __future__ import annotations

import numpy as np
import pinocchio
import torch
from torch import Tensor

from dpvp_training.core.differentiable import Chain, joint_axes


class DynamicChain(Chain):
    """A `Chain` that also knows the inertia of its links, armature included.

    Recursive Newton-Euler with everything in the axes of the world (R. Featherstone, "Rigid Body Dynamics Algorithms",
    2008, §5.3): velocities and accelerations from the base to the tip, forces and moments back.
    """

    axes: Tensor
    mass: Tensor
    centre: Tensor
    inertia: Tensor
    armature: Tensor
    against_gravity: Tensor

    def __init__(self, model: pinocchio.Model, frame: str) -> None:
        """Read the chain; see `Chain`."""
        super().__init__(model, frame)
        links = list(model.inertias)[1:]
        buffers = {
            "axes": joint_axes(model),
            "mass": np.array([link.mass for link in links]),
            "centre": np.array([link.lever for link in links]),
            "inertia": np.array([link.inertia for link in links]),
            "armature": np.array(model.armature),
            "against_gravity": -model.gravity.linear,
        }
        for name, values in buffers.items():
            self.register_buffer(name, torch.from_numpy(np.array(values)))

    def inverse_dynamics(self, q: Tensor, v: Tensor, a: Tensor) -> Tensor:
        """Return the torques (B, nv), Nm, of postures, velocities and accelerations (B, nv), rad, rad/s, rad/s²."""
        poses = self.poses(q).reshape(len(q), -1, 3, 4)
        turns, places = poses[..., :3], poses[..., 3]
        axes = (turns @ self.axes[..., None])[..., 0]
        centres = (turns @ self.centre[..., None])[..., 0]
        spin, turning = torch.zeros_like(places[:, 0]), torch.zeros_like(places[:, 0])
        rising, before = torch.zeros_like(spin) + self.against_gravity, places[:, 0]
        forces, moments = list[Tensor](), list[Tensor]()
        for link in range(self.axes.shape[0]):
            rising = rising + _carried(turning, spin, places[:, link] - before)
            turn = axes[:, link] * v[:, link, None]
            turning = turning + axes[:, link] * a[:, link, None] + torch.linalg.cross(spin, turn)
            spin, before = spin + turn, places[:, link]
            forces.append(self.mass[link] * (rising + _carried(turning, spin, centres[:, link])))
            inertia = turns[:, link] @ self.inertia[link] @ turns[:, link].transpose(1, 2)
            momentum = (inertia @ spin[..., None])[..., 0]
            moments.append((inertia @ turning[..., None])[..., 0] + torch.linalg.cross(spin, momentum))
        torques = list[Tensor]()
        for joint in range(len(forces)):
            total = torch.zeros_like(spin)
            for link in range(joint, len(forces)):
                lever = places[:, link] + centres[:, link] - places[:, joint]
                total = total + moments[link] + torch.linalg.cross(lever, forces[link])
            torques.append((axes[:, joint] * total).sum(1))
        return torch.stack(torques, dim=1) + self.armature * a


def _carried(turning: Tensor, spin: Tensor, lever: Tensor) -> Tensor:
    """Return what turning adds to the acceleration of a point at `lever`: α × r + ω × (ω × r), (B, 3)."""
    carried: Tensor = torch.linalg.cross(turning, lever) + torch.linalg.cross(spin, torch.linalg.cross(spin, lever))
    return carried
