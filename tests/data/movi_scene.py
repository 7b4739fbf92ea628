"""A small world like Kubric's, ray-cast in numpy: every label that MOVi stores, and the truth behind it."""

from dataclasses import dataclass

import numpy as np

from retracker.data.movi_tracks import CORNERS, FULL, MoviClip

DOME = 14.0  # radius
FAR = 1e9


@dataclass(frozen=True, kw_only=True, eq=False)
class Body:
    """An ellipsoid or a box that moves and turns: its own frame to the world in every frame."""

    half: np.ndarray  # 3: half of its box's sides
    xyz: np.ndarray  # T 3
    turn: np.ndarray  # T 3 3
    round: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """Bodies on a floor under a dome, and a camera that looks along its -z."""

    bodies: tuple[Body, ...]
    eye: np.ndarray  # T 3
    view: np.ndarray  # T 3 3, camera to world
    height: int
    width: int
    focal: float = 35 / 32  # in widths, as in MOVi

    def cast(self, t, xy):
        """What is seen at raster px ``xy`` (N 2) of a frame: segment, distance, world point, normal."""
        px = (xy - np.array([self.width, self.height]) / 2) / (self.focal * self.width)
        ray = np.stack([px[:, 0], -px[:, 1], -np.ones(len(px))], axis=-1)
        ray = (ray / np.linalg.norm(ray, axis=-1, keepdims=True)) @ self.view[t].T
        hits = [background(self.eye[t], ray)] + [meet(body, t, self.eye[t], ray) for body in self.bodies]
        distance, normal = (np.stack(part) for part in zip(*hits, strict=True))
        segment, row = distance.argmin(0), np.arange(len(xy))
        point = self.eye[t] + ray * distance[segment, row][:, None]
        return segment, distance[segment, row], point, normal[segment, row]

    def follow(self, t, segment, point):
        """Where what is at ``point`` (world) of frame t is in every frame: px T N 2, whether it is seen."""
        tracks, seen = [], []
        for then in range(len(self.eye)):
            moved = point.copy()
            for index, body in enumerate(self.bodies, start=1):
                own = segment == index
                local = (point[own] - body.xyz[t]) @ body.turn[t]
                moved[own] = local @ body.turn[then].T + body.xyz[then]
            xy, distance = self.project(then, moved)
            shown, depth, _, _ = self.cast(then, xy)
            inside = ((xy >= 0) & (xy < [self.width, self.height])).all(-1)
            tracks.append(xy)
            seen.append(inside & (shown == segment) & (np.abs(depth - distance) < 1e-6 * distance))
        return np.stack(tracks), np.stack(seen)

    def project(self, t, point):
        x, y, z = ((point - self.eye[t]) @ self.view[t]).T
        depth = np.where(z < 0, -z, np.nan)
        xy = np.stack([x, -y], axis=-1) / depth[:, None] * (self.focal * self.width)
        return xy + np.array([self.width, self.height]) / 2, np.linalg.norm(point - self.eye[t], axis=-1)


def background(eye, ray):
    """The floor z = 0, or the dome above it."""
    floor = np.where(ray[:, 2] < 0, -eye[2] / np.where(ray[:, 2] < 0, ray[:, 2], 1), FAR)
    along = ray @ eye
    dome = -along + np.sqrt(along**2 - eye @ eye + DOME**2)
    on_floor = floor < dome
    distance = np.minimum(floor, dome)
    inward = -(eye + ray * distance[:, None]) / DOME
    return distance, np.where(on_floor[:, None], [0.0, 0.0, 1.0], inward)


def meet(body, t, eye, ray):
    origin, way = ((eye - body.xyz[t]) @ body.turn[t]) / body.half, (ray @ body.turn[t]) / body.half
    if body.round:
        a, b, c = (way * way).sum(-1), way @ origin, origin @ origin - 1
        root = b * b - a * c
        distance = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, FAR)
        normal = (origin + way * distance[:, None]) / body.half
    else:
        sides = np.stack([(-1 - origin) / way, (1 - origin) / way])
        enter, leave = sides.min(0), sides.max(0)
        distance = np.where(enter.max(-1) < leave.min(-1), enter.max(-1), FAR)
        normal = -np.sign(way) * (enter == enter.max(-1, keepdims=True))
    distance = np.where(distance > 0, distance, FAR)
    normal = (normal / np.linalg.norm(normal, axis=-1, keepdims=True)) @ body.turn[t].T
    return distance, normal


def record(world, step=1):
    """The clip that Kubric would store; ``step`` keeps the labels of every step-th pixel only."""
    frames, height, width = len(world.eye), world.height // step, world.width // step
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    sample = ((step - 1) // 2 + 0.5) / step
    xy = (np.stack([x, y], axis=-1).reshape(-1, 2) + sample) * step
    seen = [world.cast(t, xy) for t in range(frames)]
    segment, distance, point, normal = (np.stack(part) for part in zip(*seen, strict=True))
    place = np.zeros_like(point)
    for index, body in enumerate(world.bodies, start=1):
        local = np.einsum("tni,tij->tnj", point - body.xyz[:, None], body.turn) / (2 * body.half)
        place = np.where((segment == index)[..., None], local, place)
    low, high = distance.min(), distance.max()
    shape = (frames, height, width)
    shade = ((segment * 37 + x.ravel() * 3 + y.ravel() * 5) % 256)[..., None] * np.ones(3)
    return MoviClip(
        video=shade.reshape(*shape, 3).astype(np.uint8),
        segments=segment.reshape(shape).astype(np.uint8),
        depth=whole((distance - low) / (high - low)).reshape(shape),
        depth_range=np.array([low, high], np.float32),
        coordinates=whole(place + 0.5).reshape(*shape, 3),
        normals=whole(normal / 2 + 0.5).reshape(*shape, 3),
        boxes=np.stack(
            [(CORNERS * 2 * b.half) @ b.turn.swapaxes(1, 2) + b.xyz[:, None] for b in world.bodies]
        ).astype(np.float32),
        turns=np.stack([quaternion(body.turn) for body in world.bodies]),
        camera_xyz=world.eye.astype(np.float32),
        camera_turn=quaternion(world.view),
        focal=world.focal,
        sample=sample,
    )


def example_of(clip, name="17"):
    """The same as tensorflow_datasets hands it over (as_numpy), with what the tool does not read left out."""
    return {
        "metadata": {"video_name": name.encode(), "depth_range": clip.depth_range},
        "camera": {
            "focal_length": np.float32(clip.focal * 32),
            "sensor_width": np.float32(32),
            "positions": clip.camera_xyz,
            "quaternions": clip.camera_turn,
        },
        "instances": {"bboxes_3d": clip.boxes, "quaternions": clip.turns},
        "video": clip.video,
        "segmentations": clip.segments[..., None],
        "depth": clip.depth[..., None],
        "normal": clip.normals,
        "object_coordinates": clip.coordinates,
    }


def whole(share):
    return np.round(np.clip(share, 0, 1) * FULL).astype(np.uint16)


def quaternion(matrix):
    """w x y z of rotation matrices: the null vector of q -> R q - q R, found as an eigenvector."""
    m = matrix
    k = np.empty((*m.shape[:-2], 4, 4))
    k[..., 0, 0] = np.trace(m, axis1=-2, axis2=-1)
    for i in range(3):
        j, n = (i + 1) % 3, (i + 2) % 3
        k[..., 0, i + 1] = k[..., i + 1, 0] = m[..., n, j] - m[..., j, n]
        k[..., i + 1, i + 1] = m[..., i, i] - m[..., j, j] - m[..., n, n]
        k[..., i + 1, j + 1] = k[..., j + 1, i + 1] = m[..., i, j] + m[..., j, i]
    return np.linalg.eigh(k)[1][..., -1].astype(np.float32)


def turning(axis, angles):
    """Rotation matrices about an axis (Rodrigues)."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    s, c = np.sin(angles)[:, None, None], np.cos(angles)[:, None, None]
    return np.eye(3) + s * cross + (1 - c) * cross @ cross


def looking(eye, at):
    """Camera to world: x right, y up, z away from what it looks at."""
    back = (eye - at) / np.linalg.norm(eye - at, axis=-1, keepdims=True)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    return np.stack([right, np.cross(back, right), back], axis=-1)


def usual(frames=12, height=64, width=96, *, still=False, around=False):
    """Three bodies that move and turn, before a camera that moves, stands still, or turns right around."""
    time = np.linspace(0, 1, frames)[:, None]
    bodies = (
        Body(
            half=np.array([1.0, 0.7, 0.5]),
            xyz=np.array([-1.5, 0.0, 0.9]) + time * [2.5, 0.4, 0.3],
            turn=turning([1, 2, 3], time[:, 0] * 1.5),
            round=True,
        ),
        Body(
            half=np.array([0.5, 0.8, 0.4]),
            xyz=np.array([1.2, 1.0, 0.7]) - time * [1.8, 0.0, 0.0],
            turn=turning([0, 0.3, 1], time[:, 0] * 2),
            round=False,
        ),
        Body(  # thin, and nearly on the floor
            half=np.array([0.9, 0.9, 0.03]),
            xyz=np.array([0.2, -1.5, 0.05]) + time * [0.0, 0.5, 0.0],
            turn=turning([0, 0, 1], time[:, 0]),
            round=False,
        ),
    )
    eye = np.array([3.0, -6.0, 3.0]) + (0 if still else 1) * time * [-2.0, 0.7, 0.4]
    view = looking(eye, np.array([0.0, 0.0, 0.5]))
    if around:
        view = turning([0, 0, 1], time[:, 0] * np.pi) @ view[:1]
    return World(bodies=bodies, eye=eye, view=view, height=height, width=width)
