"""The chain in torch against pinocchio, autograd and ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pinocchio
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from dpvp.errors import ModelMismatchError
from dpvp.robot import Robot
from dpvp_training.core.differentiable import Chain
from dpvp_training.core.dynamics import DynamicChain

seeds = st.integers(0, 2**32 - 1)


def tilted_arm() -> pinocchio.Model:
    """Four joints about axes of all directions, on a slope; the frame `middle` hangs on the third of them."""
    rng, model = np.random.default_rng(3), pinocchio.Model()
    model.name, model.gravity.linear = "tilted arm", np.array([1.0, -3.0, -9.0])

    def somewhere() -> pinocchio.SE3:
        return pinocchio.SE3(pinocchio.exp3(rng.normal(size=3)), rng.normal(size=3))

    for parent in range(4):
        axis = rng.normal(size=3)
        joint_model = pinocchio.JointModelRevoluteUnaligned(axis / np.linalg.norm(axis))
        joint = model.addJoint(parent, joint_model, somewhere(), f"joint{parent}")
        link = pinocchio.Inertia(rng.uniform(0.5, 2.0), rng.normal(size=3), np.eye(3))
        model.appendBodyToJoint(joint, link, somewhere())
    model.addFrame(pinocchio.Frame("middle", 3, 0, somewhere(), pinocchio.FrameType.OP_FRAME))
    return model


def arms(robot: Robot) -> list[tuple[pinocchio.Model, str]]:
    return [(robot.model, robot.end_effector), (tilted_arm(), "middle")]


def postures(model: pinocchio.Model, seed: int, batch: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-4.0, 4.0, (batch, model.nq))


@given(seeds)
def test_positions_jacobians_and_torques_are_those_of_pinocchio(robot: Robot, seed: int):
    for model, frame in arms(robot):
        chain, data, number = Chain(model, frame), model.createData(), model.getFrameId(frame)
        q = postures(model, seed)
        found = [part(torch.from_numpy(q)).numpy() for part in (chain.position, chain.jacobian, chain.gravity)]
        for row, (position, jacobian, torques) in zip(q, zip(*found, strict=True), strict=True):
            full = pinocchio.computeFrameJacobian(model, data, row, number, pinocchio.LOCAL_WORLD_ALIGNED)
            place = pinocchio.updateFramePlacement(model, data, number)
            np.testing.assert_allclose(position, place.translation, atol=1e-11)
            np.testing.assert_allclose(jacobian, full[:3], atol=1e-11)
            expected = pinocchio.computeGeneralizedGravity(model, data, row)
            np.testing.assert_allclose(torques, expected, atol=1e-10)


def test_the_jacobian_is_the_derivative_of_the_position(robot: Robot):
    for model, frame in arms(robot):
        chain, q = Chain(model, frame), torch.from_numpy(postures(model, 0, batch=1))
        derivative = torch.autograd.functional.jacobian(chain.position, q)[0, :, 0]
        torch.testing.assert_close(derivative, chain.jacobian(q)[0], rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("what", ["position", "jacobian", "gravity"])
def test_all_can_be_differentiated_twice(robot: Robot, what: str):
    for model, frame in arms(robot):
        q = torch.from_numpy(postures(model, 1, batch=2)).requires_grad_()
        part = getattr(Chain(model, frame), what)
        assert torch.autograd.gradcheck(part, q)
        assert torch.autograd.gradgradcheck(part, q)


def test_buffers_are_float64_and_follow_the_precision(robot: Robot):
    chain = Chain(robot.model, robot.end_effector)
    assert {buffer.dtype for buffer in chain.buffers()} == {torch.float64}
    assert list(chain.parameters()) == []
    q = torch.from_numpy(postures(robot.model, 2))
    exact = [part(q) for part in (chain.position, chain.gravity)]
    single = chain.float()
    for part, wanted in zip((single.position, single.gravity), exact, strict=True):
        assert part(q.float()).dtype == torch.float32
        torch.testing.assert_close(part(q.float()).double(), wanted, rtol=1e-5, atol=1e-4)


def test_exported_it_answers_the_same_with_few_operations(robot: Robot):
    class Everything(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.chain = Chain(robot.model, robot.end_effector)

        def forward(self, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return self.chain.position(q), self.chain.jacobian(q), self.chain.gravity(q)

    q = torch.from_numpy(postures(robot.model, 4, batch=1))
    program = torch.onnx.export(
        Everything().eval(), (torch.zeros_like(q),), dynamo=True, opset_version=18, verbose=False
    )
    model = program.model_proto
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answers = session.run(None, {session.get_inputs()[0].name: q.numpy()})
    for answer, wanted in zip(answers, Everything()(q), strict=True):
        np.testing.assert_allclose(answer, wanted.numpy(), atol=1e-12)
    assert len(model.graph.node) <= 30  # poses are computed once for all three
    assert not {node.op_type for node in model.graph.node} & {"If", "Loop", "Scan", "NonZero"}


def refused() -> dict[str, tuple[pinocchio.Model, str]]:
    """Models that are no chains of revolute joints, and what of them has to be named."""
    models = {}
    for name, joints in {
        "slide": [(0, pinocchio.JointModelPZ())],
        "free": [(0, pinocchio.JointModelFreeFlyer())],
        "wheel": [(0, pinocchio.JointModelRUBZ())],
        "fork": [(0, pinocchio.JointModelRX()), (0, pinocchio.JointModelRX())],
    }.items():
        model = pinocchio.Model()
        for number, (parent, joint_model) in enumerate(joints):
            model.addJoint(parent, joint_model, pinocchio.SE3.Identity(), f"{name}{number}")
        models[name] = model, f"{name}{len(joints) - 1}"
    return models


@pytest.mark.parametrize(("model", "named"), refused().values(), ids=refused())
def test_what_is_no_chain_of_revolute_joints_is_refused(model: pinocchio.Model, named: str):
    with pytest.raises(ModelMismatchError, match=f"`{named}`"):
        Chain(model, "universe")


def test_an_unknown_frame_is_refused(robot: Robot):
    with pytest.raises(ModelMismatchError, match="nose"):
        Chain(robot.model, "nose")


@given(seeds)
def test_inverse_dynamics_are_those_of_pinocchio(robot: Robot, seed: int):
    rng = np.random.default_rng(seed)
    for model, frame in arms(robot):
        chain, data, q = DynamicChain(model, frame), model.createData(), postures(model, seed)
        v, a = rng.normal(size=(2, *q.shape)) * 5.0
        found = chain.inverse_dynamics(*map(torch.from_numpy, (q, v, a))).numpy()
        expected = [pinocchio.rnea(model, data, *row).copy() for row in zip(q, v, a, strict=True)]
        np.testing.assert_allclose(found, expected, atol=1e-8)
