"""ArmView: a page in the browser that shows the robot, its goal and its plan, and asks for goals and states."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import coal
import numpy as np
import pinocchio
import trimesh
import viser
from numpy.typing import ArrayLike, NDArray

from dpvp.plan import Array
from dpvp.robot import Robot

Colour = tuple[float, float, float, float]
GOAL_RADIUS = 0.03  # m
GOAL_COLOUR, PLAN_COLOUR, STICK_COLOUR = (20, 178, 82), (0, 114, 178), (0.55, 0.57, 0.6, 1.0)
SKY = (178, 194, 212), (240, 243, 246)  # from top to bottom
STICK_RADIUS = 0.03  # m, of the links of a robot whose URDF has no visuals
BUTTONS = (("start", "Start", "green"), ("hold", "Hold", "yellow"), ("stop", "Stop", "red"))
_ROUND = 40  # corners of what is round


@dataclass(frozen=True)
class ViewActions:
    """What the people at the page want; called from threads of the web server.

    Attributes:
        aim: takes the point (3,), m, to which the goal was dragged.
        ask: takes the button that was pressed: start, hold or stop.
    """

    aim: Callable[[Array], None]
    ask: Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Shape:
    """Everything of one colour that moves with one joint.

    Attributes:
        joint: pinocchio's index of the joint; 0 does not move.
        colour: red, green, blue and opacity, 0 to 1.
        vertices: (m, 3) corners in the frame of the joint, m.
        faces: (k, 3) triangles, as indices of corners.
    """

    joint: int
    colour: Colour
    vertices: NDArray[np.float32]
    faces: NDArray[np.uint32]


class ArmView:
    """The page. All points are in the world frame, m."""

    def __init__(
        self, robot: Robot, title: str, actions: ViewActions, host: str, port: int, *, draggable: bool = True
    ) -> None:
        """Serve the page; if `port` is taken, on the next free one.

        Args:
            robot: what to show.
            title: stands above the buttons.
            actions: what to do when someone asks for something.
            host: address to listen on; `localhost` keeps others out.
            port: port to listen on.
            draggable: people may move the goal.
        """
        self._model, self._data = robot.model, robot.model.createData()
        self._tip = robot.model.getFrameId(robot.end_effector)
        self._actions, self._dragging, self._draggable = actions, False, draggable
        self._server = viser.ViserServer(host=host, port=port, label=title, verbose=False)
        logging.getLogger("websockets.server").setLevel(logging.CRITICAL)  # browsers hang up without a word
        self._host = "localhost" if host in ("", "0.0.0.0") else host
        self._add_surroundings()
        self._joints = [self._server.scene.add_frame(f"/arm/{j}", show_axes=False) for j in range(self._model.njoints)]
        for k, shape in enumerate(robot_shapes(robot)):
            self._server.scene.add_mesh_simple(
                f"/arm/{shape.joint}/{k}",
                shape.vertices,
                shape.faces,
                color=shape.colour[:3],
                opacity=None if shape.colour[3] >= 1.0 else shape.colour[3],
            )
        self._path = self._server.scene.add_line_segments(
            "/plan", np.zeros((0, 2, 3), dtype=np.float32), PLAN_COLOUR, thickness=0.006
        )
        self._goal = self._server.scene.add_icosphere(
            "/goal", GOAL_RADIUS, GOAL_COLOUR, opacity=0.55, cast_shadow=False, visible=False
        )
        self._handle = self._server.scene.add_transform_controls(
            "/handle", scale=0.25, disable_rotations=True, depth_test=False, opacity=0.85, visible=False
        )
        self._handle.on_update(self._on_drag)
        self._add_panel()

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{self._host}:{self._server.get_port()}"

    def show_state(self, q: ArrayLike) -> None:
        """Put the arm into the posture `q` (nq,), rad."""
        pinocchio.forwardKinematics(self._model, self._data, np.asarray(q, dtype=np.float64))
        with self._server.atomic():
            for frame, pose in zip(self._joints, self._data.oMi, strict=True):
                x, y, z, w = pinocchio.Quaternion(pose.rotation).coeffs()
                frame.position, frame.wxyz = pose.translation, (w, x, y, z)

    def show_goal(self, point: ArrayLike) -> None:
        """Put the goal, and the handle unless someone is dragging it, at `point` (3,)."""
        position = np.asarray(point, dtype=np.float64)
        self._goal.position, self._goal.visible = position, True
        if self._draggable and not self._dragging:
            self._handle.position, self._handle.visible = position, True

    def show_plan(self, qs: ArrayLike) -> None:
        """Draw the path of the end effector along the planned postures `qs` (m, nq), rad."""
        points = np.array([self._tip_at(q) for q in np.asarray(qs, dtype=np.float64)], dtype=np.float32).reshape(-1, 3)
        self._path.points = np.stack([points[:-1], points[1:]], axis=1)

    def show_text(self, markdown: str) -> None:
        """Replace the text above the buttons."""
        if self._text.content != markdown:
            self._text.content = markdown

    def close(self) -> None:
        """Take the page down."""
        self._server.stop()

    def _tip_at(self, q: Array) -> Array:
        pinocchio.forwardKinematics(self._model, self._data, q)
        return np.array(pinocchio.updateFramePlacement(self._model, self._data, self._tip).translation)

    def _add_surroundings(self) -> None:
        scene = self._server.scene
        scene.set_up_direction("+z")
        scene.configure_default_lights(enabled=False)
        scene.add_light_hemisphere("/sky", sky_color=(255, 255, 255), ground_color=(214, 210, 204), intensity=1.35)
        scene.add_light_directional("/sun", intensity=1.9, cast_shadow=True, position=(1.2, -1.5, 2.6))
        scene.add_light_directional("/fill", intensity=0.4, cast_shadow=False, position=(-1.5, 1.0, 1.0))
        shade = np.linspace(SKY[0], SKY[1], 128)[:, None, :].repeat(8, axis=1)
        scene.set_background_image(shade.astype(np.uint8), format="png")
        scene.add_grid(
            "/floor",
            width=4.0,
            height=4.0,
            cell_size=0.1,
            section_size=0.5,
            cell_color=(226, 229, 232),
            section_color=(198, 203, 208),
            plane_color=(240, 241, 240),
            plane_opacity=1.0,
            shadow_opacity=0.25,
        )
        self._server.initial_camera.position = (0.92, -1.3, 0.85)
        self._server.initial_camera.look_at = (-0.03, -0.12, 0.52)

    def _add_panel(self) -> None:
        gui = self._server.gui
        gui.configure_theme(show_logo=False, show_share_button=False, control_width="small")
        self._text = gui.add_markdown("waiting for the robot")
        for name, label, colour in BUTTONS:
            button = gui.add_button(label, color=colour)  # type: ignore[arg-type]
            button.on_click(lambda _, asked=name: self._actions.ask(asked))  # type: ignore[misc]
        if self._draggable:
            gui.add_markdown("Drag the arrows in the scene to move the goal.")

    def _on_drag(self, event: viser.TransformControlsEvent) -> None:
        self._dragging = event.phase != "end"
        if event.phase == "end":
            self._actions.aim(np.array(event.target.position, dtype=np.float64))


def robot_shapes(robot: Robot) -> list[Shape]:
    """Return what there is to see of `robot`: the visuals of its URDF or, if it has none, sticks between its joints."""
    visuals = pinocchio.buildGeomFromUrdfString(robot.model, robot.urdf_xml, pinocchio.GeometryType.VISUAL)
    pieces = _visual_pieces(visuals) if visuals.ngeoms else _sticks(robot.model)
    joined: dict[tuple[int, Colour], list[trimesh.Trimesh]] = {}
    for joint, colour, mesh in pieces:
        joined.setdefault((joint, colour), []).append(mesh)
    shapes = []
    for (joint, colour), meshes in joined.items():
        corners = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
        vertices = np.concatenate([mesh.vertices for mesh in meshes])
        faces = np.concatenate([mesh.faces + first for mesh, first in zip(meshes, corners, strict=True)])
        shapes.append(Shape(joint, colour, vertices.astype(np.float32), faces.astype(np.uint32)))
    return shapes


def _visual_pieces(visuals: pinocchio.GeometryModel) -> Iterator[tuple[int, Colour, trimesh.Trimesh]]:
    for item in visuals.geometryObjects:
        mesh = _mesh(item)
        mesh.apply_transform(item.placement.homogeneous)
        red, green, blue, opacity = (round(float(part), 3) for part in item.meshColor)
        yield int(item.parentJoint), (red, green, blue, opacity), mesh


def _mesh(item: pinocchio.GeometryObject) -> trimesh.Trimesh:
    """Return the shape of `item` in its own frame."""
    shape, make = item.geometry, trimesh.creation
    if isinstance(shape, coal.Sphere):
        mesh = make.icosphere(subdivisions=3, radius=shape.radius)
    elif isinstance(shape, coal.Cylinder):
        mesh = make.cylinder(shape.radius, 2.0 * shape.halfLength, sections=_ROUND)
    elif isinstance(shape, coal.Capsule):
        mesh = make.capsule(2.0 * shape.halfLength, shape.radius)
    elif isinstance(shape, coal.Box):
        mesh = make.box(2.0 * shape.halfSide)
    else:
        mesh = trimesh.load_mesh(item.meshPath)
        mesh.vertices = mesh.vertices * item.meshScale
    assert isinstance(mesh, trimesh.Trimesh)
    return mesh


def _sticks(model: pinocchio.Model) -> Iterator[tuple[int, Colour, trimesh.Trimesh]]:
    for joint in range(1, model.njoints):
        yield joint, STICK_COLOUR, trimesh.creation.icosphere(subdivisions=2, radius=1.5 * STICK_RADIUS)
        end = np.array(model.jointPlacements[joint].translation)
        if math.hypot(*end) > STICK_RADIUS:
            stick = trimesh.creation.cylinder(STICK_RADIUS, sections=_ROUND, segment=[np.zeros(3), end])
            yield int(model.parents[joint]), STICK_COLOUR, stick
