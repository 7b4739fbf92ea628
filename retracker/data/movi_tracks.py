"""Point tracks of a Kubric MOVi clip, which stores none: from object poses, cameras, depth and segments.

A point on an object keeps its place in the object's box and moves with the box; a point of the background
stays where it is in the world. It is visible where the frame shows its object about as deep as it is.

Faults that labels derived in this way are known for (kubric#280, #281: tracks half a pixel off; points that
something passed in front of and that stay "visible") are avoided: pixels are taken at their centres
throughout; the pixel that a point lies in must show its object, not just any of the four around it, and one
of those that do must be deep enough; and points whose own pixel mixes two surfaces, so that they lie on none,
are left out.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8, UInt16

STRIDE = 4  # of the grid over frames, rows and columns that points are chosen from
MAX_SHARE = 0.1  # of the grid points on one object: more would repeat each other
SAME_DEPTH = 0.99  # a surface is in front of a point if it is nearer than this share of its distance
OWN_PIXEL = 1.0  # px: a point projects so near to the pixel it was taken from, or its labels contradict
ROUGH = 0.05  # normals of diagonal neighbours that differ by more come from a bump map, not from the mesh
FULL = 65535  # the range of uint16
# Of the unit box, in the order of Kubric's bboxes_3d: z changes fastest.
CORNERS = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3, indexing="ij"), axis=-1).reshape(8, 3)


@dataclass(frozen=True, kw_only=True)
class MoviClip:
    """What is needed of one example, of T frames and O objects, as it is stored."""

    video: UInt8[np.ndarray, "T H W 3"]
    segments: UInt8[np.ndarray, "T H W"]  # 0: background; i + 1: object i
    depth: UInt16[np.ndarray, "T H W"]  # distance from the camera's centre (not z), over ``depth_range``
    depth_range: Float32[np.ndarray, "2"]  # world units
    coordinates: UInt16[np.ndarray, "T H W 3"]  # place in the object's box, each side from 0 to 65535
    normals: UInt16[np.ndarray, "T H W 3"]  # world, from -1 to 1
    boxes: Float32[np.ndarray, "O T 8 3"]  # world: the corners of each object's box
    turns: Float32[np.ndarray, "O T 4"]  # the objects' quaternions w x y z, object to world
    camera_xyz: Float32[np.ndarray, "T 3"]
    camera_turn: Float32[np.ndarray, "T 4"]  # quaternion w x y z; the camera looks along its -z, y is up
    focal: float  # in sensor widths
    sample: float = 0.5  # where in its pixel a label was taken, px (0.25 if every second pixel was kept)


@dataclass(frozen=True, kw_only=True)
class Points:
    """N points: the pixel each was taken from, and its place in the frame of what it sticks to."""

    frame: Int[np.ndarray, " N"]
    row: Int[np.ndarray, " N"]
    column: Int[np.ndarray, " N"]
    segment: Int[np.ndarray, " N"]
    place: Float[np.ndarray, "N 3"]  # in the box of an object; world for the background

    def __getitem__(self, chosen: np.ndarray) -> "Points":
        return Points(**{name: value[chosen] for name, value in vars(self).items()})


def derive_tracks(
    clip: MoviClip, num_points: int, rng: np.random.Generator
) -> tuple[Float32[np.ndarray, "T N 2"], Bool[np.ndarray, "T N"]]:
    """Tracks (raster px; nan behind the camera) and visibility of points, evenly over objects and background.

    At most ``num_points``: fewer come back where the grid holds fewer, or where labels contradict each
    other. Raises ValueError if a segment has no object.
    """
    if clip.segments.max() > len(clip.boxes):
        raise ValueError(f"segments up to {clip.segments.max()}, but only {len(clip.boxes)} objects")
    scene = Scene(clip)
    points = scene.place(candidates(clip, rng))
    points = points[scene.agrees_with_its_pixel(points)]
    points = points[balanced(points.segment, num_points, rng)]
    xyz = scene.follow(points)  # T N 3
    xy, distance = scene.project(xyz, np.arange(len(xyz)))
    shown, floating = scene.shows(points.segment, xy, distance)
    visible = shown & ~scene.faces_away(points, xyz)
    # A pixel that mixes two surfaces gives a point on neither: another frame must tell that it is on one.
    confirmed = (shown & ~floating).sum(0) - 1 > floating.sum(0)
    kept = visible[points.frame, np.arange(len(points.frame))] & confirmed
    return xy[:, kept].astype(np.float32), visible[:, kept]


def candidates(clip: MoviClip, rng: np.random.Generator) -> Points:
    """The pixels of a grid over frames, rows and columns that starts at random; not placed yet."""
    axes = [np.arange(rng.integers(min(STRIDE, n)), n, STRIDE) for n in clip.segments.shape]
    frame, row, column = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    segment = clip.segments[frame, row, column].astype(np.int64)
    return Points(frame=frame, row=row, column=column, segment=segment, place=np.zeros((len(frame), 3)))


def balanced(
    segment: Int[np.ndarray, " N"], num_points: int, rng: np.random.Generator
) -> Int[np.ndarray, " M"]:
    """Choose points without repetition, evenly over segments: what a small one lacks, larger ones give."""
    names, counts = np.unique(segment, return_counts=True)
    chosen, missing = [np.zeros(0, np.int64)], num_points
    for rank, index in enumerate(counts.argsort(kind="stable")):
        count = min(round(missing / (len(names) - rank)), round(counts[index] * MAX_SHARE))
        chosen.append(rng.choice(np.flatnonzero(segment == names[index]), count, replace=False))
        missing -= count
    return np.concatenate(chosen)


class Scene:
    """The geometry of a clip: poses of cameras and objects, and what each pixel shows."""

    def __init__(self, clip: MoviClip) -> None:
        self.clip = clip
        self.height, self.width = clip.segments.shape[1:]
        self.focal = clip.focal * self.width  # px; pixels are square
        self.camera = rotations(clip.camera_turn)  # T 3 3, camera to world
        # Segment 0 is the background, whose frame is the world's.
        self.turns = np.concatenate([_still(len(self.camera)), rotations(clip.turns)])  # O+1 T 3 3
        boxes = box_to_world(clip.boxes)
        self.boxes = np.concatenate([np.pad(_still(len(self.camera)), [(0, 0)] * 3 + [(0, 1)]), boxes])

    def place(self, points: Points) -> Points:
        """The same points with their places, as their own pixels tell."""
        pixel = (points.frame, points.row, points.column)
        box = self.clip.coordinates[pixel] / FULL - 0.5
        world = self.unproject(points.frame, self._taken_at(points), self.distance(*pixel))
        place = np.where((points.segment == 0)[:, None], world, box)
        return Points(**{**vars(points), "place": place})

    def distance(
        self, frame: Int[np.ndarray, "*N"], row: Int[np.ndarray, "*N"], column: Int[np.ndarray, "*N"]
    ) -> Float[np.ndarray, "*N"]:
        """How far from the camera's centre the surface is that a pixel shows, world units."""
        near, far = self.clip.depth_range.astype(np.float64)
        return near + self.clip.depth[frame, row, column] * ((far - near) / FULL)

    def unproject(
        self, frame: Int[np.ndarray, " N"], xy: Float[np.ndarray, "N 2"], distance: Float[np.ndarray, " N"]
    ) -> Float[np.ndarray, "N 3"]:
        """The world point so far away along the ray through ``xy`` (raster px)."""
        x, y = (xy - [self.width / 2, self.height / 2]).T / self.focal
        ray = np.stack([x, -y, -np.ones_like(x)], axis=-1)
        ray *= (distance / np.linalg.norm(ray, axis=-1))[:, None]  # a distance, not a z
        return np.einsum("nij,nj->ni", self.camera[frame], ray) + self.clip.camera_xyz[frame]

    def follow(self, points: Points) -> Float[np.ndarray, "T N 3"]:
        """Where points are in the world, in each frame."""
        pose = self.boxes[points.segment].swapaxes(0, 1)  # T N 3 4
        return np.einsum("tnij,nj->tni", pose[..., :3], points.place) + pose[..., 3]

    def project(
        self, xyz: Float[np.ndarray, "F N 3"], frames: Int[np.ndarray, " F"]
    ) -> tuple[Float[np.ndarray, "F N 2"], Float[np.ndarray, "F N"]]:
        """Raster px, nan for what is not ahead of the camera, and the distance from its centre."""
        offset = xyz - self.clip.camera_xyz[frames, None]
        x, y, z = np.moveaxis(offset @ self.camera[frames], -1, 0)  # world to camera: the transpose
        depth = np.where(z < 0, -z, np.nan)
        xy = [self.width / 2 + self.focal * x / depth, self.height / 2 - self.focal * y / depth]
        return np.stack(xy, axis=-1), np.linalg.norm(offset, axis=-1)

    def agrees_with_its_pixel(self, points: Points) -> Bool[np.ndarray, " N"]:
        """Whether points project to where they were taken from; they do not where a pixel mixes surfaces."""
        pose = self.boxes[points.segment, points.frame]  # N 3 4
        xyz = np.einsum("nij,nj->ni", pose[..., :3], points.place) + pose[..., 3]
        xy, _ = self.project(xyz[:, None], points.frame)
        return np.linalg.norm(xy[:, 0] - self._taken_at(points), axis=-1) < OWN_PIXEL  # False for nan

    def shows(
        self,
        segment: Int[np.ndarray, " N"],
        xy: Float[np.ndarray, "T N 2"],
        distance: Float[np.ndarray, "T N"],
    ) -> tuple[Bool[np.ndarray, "T N"], Bool[np.ndarray, "T N"]]:
        """Whether a point lies in a pixel of its object, and one such around it is as deep as it or deeper.

        And whether all of its object there is farther away than the point: then the point is on no surface.
        """
        inside = ((xy >= 0) & (xy < [self.width, self.height])).all(-1)  # False for nan
        at = np.where(inside[..., None], xy, 0) - self.clip.sample  # in pixel indices
        frame = np.broadcast_to(np.arange(len(xy))[:, None], inside.shape)

        def look(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            """How deep some pixels are, and whether they show the points' own objects."""
            column, row = np.moveaxis(np.clip(index.astype(np.int64), 0, limit), -1, 0)
            return self.distance(frame, row, column), self.clip.segments[frame, row, column] == segment

        limit = [self.width - 1, self.height - 1]
        nearest, farthest = np.full(inside.shape, np.inf), np.full(inside.shape, -np.inf)
        for offset in np.ndindex(2, 2):
            depth, own = look(np.floor(at) + offset)
            nearest = np.minimum(nearest, np.where(own, depth, np.inf))
            farthest = np.maximum(farthest, np.where(own, depth, -np.inf))
        found = inside & look(np.floor(at + 0.5))[1] & (farthest >= SAME_DEPTH * distance)
        return found, found & (SAME_DEPTH * nearest > distance)

    def faces_away(self, points: Points, xyz: Float[np.ndarray, "T N 3"]) -> Bool[np.ndarray, "T N"]:
        """Whether the surface at a point has turned its back on the camera.

        Not told of the background, of rough surfaces, nor of points that do so in their own frame already.
        """
        frame, own = points.frame, np.arange(len(points.frame))
        normal, smooth = self._normals(points)
        body = np.einsum("nji,nj->ni", self.turns[points.segment, frame], normal)  # world to object
        turned = np.einsum("ntij,nj->tni", self.turns[points.segment], body)
        away = ((xyz - self.clip.camera_xyz[:, None]) * turned).sum(-1) > 0  # T N
        return away & smooth & (points.segment > 0) & ~away[frame, own]

    def _normals(self, points: Points) -> tuple[Float[np.ndarray, "N 3"], Bool[np.ndarray, " N"]]:
        """World normals, and whether most of the diagonal neighbours have much the same."""
        scale = 2 / FULL
        normal = self.clip.normals[points.frame, points.row, points.column] * scale - 1
        unlike = np.zeros(len(normal), np.int64)
        for across, down in ((-1, -1), (1, -1), (-1, 1), (1, 1)):
            row = np.clip(points.row + down, 0, self.height - 1)
            column = np.clip(points.column + across, 0, self.width - 1)
            other = self.clip.normals[points.frame, row, column] * scale - 1
            unlike += np.linalg.norm(other - normal, axis=-1) > ROUGH
        return normal, unlike <= 2

    def _taken_at(self, points: Points) -> Float[np.ndarray, "N 2"]:
        return np.stack([points.column, points.row], axis=-1) + self.clip.sample


def rotations(quaternions: Float32[np.ndarray, "*B 4"]) -> Float[np.ndarray, "*B 3 3"]:
    """Rotation matrices of quaternions w x y z."""
    wxyz = quaternions.astype(np.float64)
    w, x, y, z = np.moveaxis(wxyz / np.linalg.norm(wxyz, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def box_to_world(boxes: Float32[np.ndarray, "O T 8 3"]) -> Float[np.ndarray, "O T 3 4"]:
    """The affine maps that carry the corners of the unit box to those of each box, by least squares."""
    corners = np.concatenate([CORNERS, np.ones((8, 1))], axis=1)
    return (np.linalg.pinv(corners) @ boxes.astype(np.float64)).swapaxes(-1, -2)


def _still(num_frames: int) -> Float[np.ndarray, "1 T 3 3"]:
    return np.broadcast_to(np.eye(3), (1, num_frames, 3, 3))
