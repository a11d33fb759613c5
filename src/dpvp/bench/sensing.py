"""A plant that knows of itself what its sensors say: for walks on the estimate, the truth being kept from the robot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dpvp.bench.walk import Plant, Walk
from dpvp.control.base_estimator import BaseEstimator
from dpvp.control.base_state import BaseMeasurement, EstimatorConfig, Place
from dpvp.control.leg_kinematics import LegKinematics
from dpvp.plan import Array
from dpvp.scenario import Scenario
from dpvp.tasks.gait import Flags
from dpvp.tasks.strides import heading


@dataclass(frozen=True)
class Sensors:
    """What sensors add to the truth; the noise of the IMU is in the robot's scene.

    Attributes:
        position, velocity: standard deviations of the joints', rad and rad/s.
        bias: (3,) of the accelerometer, m/s².
    """

    position: float = 0.0005
    velocity: float = 0.05
    bias: tuple[float, float, float] = (0.1, -0.1, 0.15)


class SensingPlant(Plant):
    """The robot with an IMU, encoders and a base estimator; contacts are those that the plan expects.

    Attributes:
        off: of every measurement, the estimated state (nx,) and the true one.
    """

    def __init__(
        self,
        scenario: Scenario,
        walk: Walk,
        rng: np.random.Generator,
        sensors: Sensors | None = None,
        config: EstimatorConfig | None = None,
    ) -> None:
        """Put the robot on its feet; it is told where it stands then, and nothing later."""
        super().__init__(scenario, walk, rng)
        self._rng, self._sensors, self._steps = rng, sensors or Sensors(), 0
        self._every = round(scenario.config.rates.feedback / scenario.config.rates.joint_states)
        self._stands = np.ones(len(self.robot.feet), dtype=bool)
        x = self.read()[1]
        start = Place(float(x[0]), float(x[1]), heading(x)[0])
        self._estimator = BaseEstimator(LegKinematics(self.robot), config, start)
        self._known = x
        self.off = list[tuple[Array, Array]]()
        self._measure()  # it starts where it stands still

    def known(self) -> Array:
        """Return the newest estimate (nx,); the joints are as noisy as they are measured."""
        return self._known

    def expect(self, stands: Flags) -> None:
        """Take which feet (n,) are to stand from now on."""
        self._stands = stands

    def sense(self) -> None:
        """Measure and estimate, where it is time for it."""
        self._steps += 1
        if self._steps % self._every == 0:
            self._measure()

    def _measure(self) -> None:
        t, x = self.read()
        imu, nq = self.world.read_imu(self._rng), self.robot.nq
        q = self._rng.normal(x[7:nq], self._sensors.position)
        v = self._rng.normal(x[nq + 6 :], self._sensors.velocity)
        bias, stands = np.array(self._sensors.bias), self._stands.astype(np.float64)
        measured = BaseMeasurement(t, imu.orientation, imu.gyro, imu.accelerometer + bias, q, v, stands)
        estimate = self._estimator.update(measured)
        self._known = np.concatenate([estimate.q, q, estimate.v, v])
        self.off.append((self._known, x))
