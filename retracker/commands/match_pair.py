"""One pair of images, matched, verified, told and written, as ``retracker match`` is asked to."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from retracker.commands.shell import say
from retracker.commands.tables import write_matches_npz, write_verified_npz, write_warp_npz
from retracker.inference.image_encoder import FLAT_LEVELS, View
from retracker.inference.pair import Matches, PairMatcher
from retracker.inference.verification import Camera, Geometry, NoGeometryError, verify
from retracker.inference.warp import Warp, warp_pair
from retracker.media.image import write_image
from retracker.visualize.matches import draw_matches, draw_verified, readable, readable_height
from retracker.visualize.warp import draw_warp

MOST_TOLD = 20  # points; more are looked up in the file


@dataclass(frozen=True, kw_only=True)
class GeometryQuestion:
    """Which geometry the matches are to agree on, and how it is looked for."""

    kind: str
    solver: str
    threshold_px: float
    cameras: tuple[Camera, Camera | None] | None  # the second is None where it was not given

    def ask(self, matches: Matches, views: tuple[View, View]) -> Geometry:
        """Raises NoGeometryError where there is none."""
        cameras = self.cameras
        if cameras is not None and cameras[1] is None:
            if views[0].size != views[1].size:
                raise ValueError("--camera-b: expected one, since the images are not of one size")
            cameras = (cameras[0], cameras[0])
        return verify(matches.points_a, matches.points_b, self.kind, self.solver, self.threshold_px, cameras)


@dataclass(frozen=True, kw_only=True)
class PairTask:
    """What is done with each pair."""

    formats: tuple[str, ...]
    grid: int
    corners: int | None  # None: a grid
    points: Float[Tensor, "N 2"] | None
    mutual: bool
    subpixel: bool
    num: int | None
    seed: int
    geometry: GeometryQuestion | None
    warp_grid: int | None  # None: no warp

    def run(self, matcher: PairMatcher, paths: tuple[Path, Path], stem: Path) -> None:
        """Match, tell and write ``<stem>_matches`` and ``<stem>_warp``. Raises OSError and ValueError."""
        views = (matcher.encoder.open(paths[0]), matcher.encoder.open(paths[1]))
        found = matcher.match(
            *paths,
            points=self.points,
            grid=self.grid,
            corners=self.corners,
            mutual=self.mutual,
            subpixel=self.subpixel,
            num=self.num,
            seed=self.seed,
        )
        say(f"{len(found)} matches of {paths[0]} in {paths[1]}")
        self._tell_points(found)
        for path, view in zip(paths, views, strict=True):
            if (view.image.flatten(1).amax(1) - view.image.flatten(1).amin(1)).max() <= FLAT_LEVELS:
                say(f"{path} is of one colour: there is nothing in it to match")
        written = [*self._matches(found, views, paths, stem)]
        if self.warp_grid is not None:
            written += self._warp(matcher, views, paths, stem)
        for path in written:
            say(f"wrote {path}")

    def _tell_points(self, found: Matches) -> None:
        """Where each of a few points is, if they were asked for one by one."""
        if self.points is None or len(self.points) > MOST_TOLD:
            return
        absent = "not found" if self.num is None else "not found, or not in the sample"
        where = {index: row for row, index in enumerate(found.index.tolist())}
        for index, (x, y) in enumerate(self.points.tolist()):
            answer = absent
            if index in where:
                (to_x, to_y), sure = found.points_b[where[index]].tolist(), found.confidence[where[index]]
                answer = f"({to_x:.2f}, {to_y:.2f}), confidence {sure:.2f}"
            say(f"({x:g}, {y:g}): {answer}")

    def _matches(
        self, found: Matches, views: tuple[View, View], paths: tuple[Path, Path], stem: Path
    ) -> Iterator[Path]:
        geometry = self._geometry(found, views)
        names, sizes = (str(paths[0]), str(paths[1])), (views[0].size, views[1].size)
        for name in self.formats:
            path = stem.with_name(f"{stem.name}_matches.{name}")
            if name == "png":
                write_image(path, _picture(found, views, geometry))
            elif self.geometry is None:
                write_matches_npz(path, found, names, sizes)
            else:
                write_verified_npz(path, found, names, sizes, geometry)
            yield path

    def _geometry(self, found: Matches, views: tuple[View, View]) -> Geometry | None:
        """What was asked for, if anything was; told, and so is that there is none."""
        if self.geometry is None:
            return None
        try:
            geometry = self.geometry.ask(found, views)
        except NoGeometryError as reason:
            say(f"no {self.geometry.kind} geometry: {reason}")
            return None
        say(f"{geometry.num_inliers} inliers ({_shown(geometry)})")
        return geometry

    def _warp(
        self, matcher: PairMatcher, views: tuple[View, View], paths: tuple[Path, Path], stem: Path
    ) -> Iterator[Path]:
        warp = warp_pair(matcher, *paths, self.warp_grid)
        for name in self.formats:
            path = stem.with_name(f"{stem.name}_warp.{name}")
            if name == "npz":
                write_warp_npz(path, warp, (str(paths[0]), str(paths[1])))
            else:
                write_image(path, _warped(warp, views))
            yield path


def _picture(found: Matches, views: tuple[View, View], geometry: Geometry | None) -> Tensor:
    height = readable_height(*(view.image for view in views))
    image_a, points_a = readable(views[0].image, found.points_a, height)
    image_b, points_b = readable(views[1].image, found.points_b, height)
    ends = (image_a, image_b, points_a, points_b)
    if geometry is None:
        return draw_matches(*ends, found.confidence)
    return draw_verified(*ends, geometry.inliers, geometry=_shown(geometry))


def _warped(warp: Warp, views: tuple[View, View]) -> Tensor:
    height = readable_height(*(view.image for view in views))
    image_a, _ = readable(views[0].image, warp.start[0], height)
    dense = warp.resized(image_a.shape[-2], image_a.shape[-1])
    image_b, xy = readable(views[1].image, dense.positions.reshape(-1, 2), height)
    return draw_warp(image_a, image_b, xy.reshape(dense.positions.shape), dense.certainty)


def _shown(geometry: Geometry) -> str:
    noun = "homography" if geometry.kind == "homography" else f"{geometry.kind} matrix"
    return f"{noun}, {geometry.solver}, {geometry.threshold_px:g} px"
