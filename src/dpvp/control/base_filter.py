"""The linear Kalman filter under the base estimator: steps from belief to belief, without sensors, frames or time.

State (9 + 3 n_feet,): position p and velocity v of the IMU in the world, bias b of the accelerometer in the IMU's
frame, positions f of the feet in the world. With the orientation R taken from the IMU everything is linear:

    ṗ = v,   v̇ = R (a - b) + g,   ḃ = 0,   ḟ = roll while a foot stands         (a: accelerometer)
    R s = f - p,   roll - R (ṡ + ω × s) = v,   f_z = radius while it stands      (s: foot seen from the IMU, ω: gyro)

Bledt et al., "MIT Cheetah 3: Design and Control of a Robust, Dynamic Quadruped Robot", IROS 2018 (state estimation),
whose model of feet that stand still is that of Bloesch et al., "State Estimation for Legged Robots - Consistent Fusion
of Leg Kinematics and IMU", RSS 2012. Added: the bias, the rolling of round feet, and a gate for feet that do not stand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpvp.control.base_state import EstimatorConfig
from dpvp.plan import Array

GRAVITY = np.array([0.0, 0.0, -9.81])
P, V, B, FEET = slice(0, 3), slice(3, 6), slice(6, 9), 9  # where in the state
LEAST_TRUST = 0.05  # a foot that stands with less probability says nothing
KNOWN, UNKNOWN = 1e-3, 1.0  # m or m/s, deviation of what is given at the start and of what the feet will tell


@dataclass(frozen=True)
class Belief:
    """Mean (9 + 3 n_feet,) and covariance of the state."""

    mean: Array
    covariance: Array


@dataclass(frozen=True)
class FeetInWorld:
    """What legs and gyro say of the feet, each (n_feet, 3) along the axes of the world.

    Attributes:
        position: of the feet relative to the IMU, m.
        velocity: of the IMU, m/s, if that foot stands.
        roll: velocity of the middle of a foot that rolls on the ground, m/s.
    """

    position: Array
    velocity: Array
    roll: Array


@dataclass(frozen=True)
class Trust:
    """How much each foot is believed to stand (n_feet,), 0..1, and whether its height is believed (n_feet,)."""

    standing: Array
    level: NDArray[np.bool_]


class BaseFilter:
    """The matrices for `n_feet` feet, whose frames stand at `radius` m, with the noise of `config`; keeps no state."""

    def __init__(self, n_feet: int, radius: float, config: EstimatorConfig) -> None:
        """Build what stays the same."""
        self._n, self._radius, self._config = n_feet, radius, config
        self._feet, each = np.arange(FEET, FEET + 3 * n_feet), 3 * n_feet
        rows = np.zeros((7 * n_feet, FEET + 3 * n_feet))
        rows[np.arange(each), self._feet] = 1.0
        rows[:each, P] = -np.tile(np.eye(3), (n_feet, 1))
        rows[each : 2 * each, V] = np.tile(np.eye(3), (n_feet, 1))
        rows[np.arange(2 * each, 7 * n_feet), self._feet[2::3]] = 1.0
        self._rows = rows

    def start(self, position: Array, feet: FeetInWorld) -> Belief:
        """Return the belief of an IMU at `position` (3,), m, of which x and y are given and the rest is a guess."""
        mean = np.zeros(FEET + 3 * self._n)
        mean[P], mean[FEET:] = position, (position + feet.position).ravel()
        deviation = np.full(len(mean), UNKNOWN)
        deviation[:2], deviation[B] = KNOWN, self._config.bias
        return Belief(mean, np.diag(deviation**2))

    def predict(self, belief: Belief, dt: float, force: Array, rotation: Array, feet: FeetInWorld) -> Belief:
        """Return the belief `dt` seconds later.

        Args:
            belief: before.
            dt: length of the step, s.
            force: (3,) mean specific force of the step along the axes of the world, m/s².
            rotation: (3, 3) mean orientation of the IMU in the step.
            feet: at the end of the step.
        """
        config, mean = self._config, belief.mean.copy()
        acceleration = force - rotation @ mean[B] + GRAVITY
        mean[P] += dt * mean[V] + 0.5 * dt**2 * acceleration
        mean[V] += dt * acceleration
        mean[FEET:] += dt * feet.roll.ravel()
        step = np.eye(len(mean))
        step[P, V] = dt * np.eye(3)
        step[P, B], step[V, B] = -0.5 * dt**2 * rotation, -dt * rotation
        noise, density = np.zeros_like(step), config.accelerometer**2 * np.eye(3)
        noise[P, P], noise[V, V] = density * dt**3 / 3, density * dt
        noise[P, V] = noise[V, P] = density * dt**2 / 2
        noise[B, B] = config.bias_walk**2 * dt * np.eye(3)
        noise[FEET:, FEET:] = config.stance**2 * dt * np.eye(3 * self._n)
        return Belief(mean, step @ belief.covariance @ step.T + noise)

    def judge(self, belief: Belief, feet: FeetInWorld, contacts: Array) -> Trust:
        """Return which of the feet that should stand, with probability `contacts` (n_feet,), may be believed to.

        A foot that slips, or is in the air, moves the IMU in a way that nothing else confirms.
        """
        config, mean, covariance = self._config, belief.mean, belief.covariance
        off = feet.velocity - mean[V]
        spread = covariance[V, V] + config.leg_velocity**2 * np.eye(3)
        moves = np.einsum("ij,ij->i", off, np.linalg.solve(spread, off.T).T) > config.slip_gate**2
        above = mean[2] + feet.position[:, 2] - self._radius
        variance = covariance[2, 2] + config.leg_position**2 + config.height**2
        standing = np.where(moves | (contacts < LEAST_TRUST), 0.0, contacts)
        level = config.flat_ground & (standing > 0) & (above**2 <= config.slip_gate**2 * variance)
        return Trust(standing, level)

    def correct(self, belief: Belief, dt: float, feet: FeetInWorld, trust: Trust) -> Belief:
        """Return the belief after the legs were heard, each as far as it is trusted, `dt` s after the last time."""
        config, prior = self._config, belief.covariance.copy()
        prior[self._feet, self._feet] += config.swing**2 * dt * (1 - np.repeat(trust.standing, 3))
        heard = np.concatenate([np.ones(3 * self._n, dtype=bool), np.repeat(trust.standing > 0, 3), trust.level])
        weight = np.maximum(trust.standing, LEAST_TRUST)  # 1 / deviation
        variance = np.concatenate(
            [
                np.full(3 * self._n, config.leg_position**2),
                np.repeat((config.leg_velocity / weight) ** 2, 3),
                (config.height / weight) ** 2,
            ]
        )[heard]
        height = np.full(self._n, self._radius)
        told = np.concatenate([feet.position.ravel(), feet.velocity.ravel(), height])[heard]
        rows = self._rows[heard]
        gain = np.linalg.solve(rows @ prior @ rows.T + np.diag(variance), rows @ prior).T
        mean = belief.mean + gain @ (told - rows @ belief.mean)
        left = np.eye(len(mean)) - gain @ rows  # Joseph's form: stays symmetric and positive
        return Belief(mean, left @ prior @ left.T + (gain * variance) @ gain.T)
