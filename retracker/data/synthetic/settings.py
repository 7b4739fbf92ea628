"""What a user chooses about a synthetic clip, and what each difficulty means."""

from dataclasses import dataclass

from retracker.data.synthetic.textures import PHOTO_SHARE

DIFFICULTIES = ("easy", "medium", "hard")
SHARES = (
    "first_frame_share", "last_birth", "object_share", "rim_share", "photo_share",
    "shaded", "grey", "locked", "weak", "weak_walls",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Difficulty:
    """The ranges a clip of one difficulty is drawn from; lengths are shares of the frame's width."""

    speed: float  # no tracked point moves farther than this in one frame while it is seen
    objects: tuple[int, int]  # how many independent movers, those that pass close to the camera included
    occluders: tuple[int, int]  # how many of the movers pass close to the camera
    occlusion: tuple[int, int]  # frames that such a pass hides a point for
    excursion: float  # how far the camera may turn and travel, 1 = a good part of the view
    nonrigid: float  # probability that a surface bends, ripples or breathes
    shutter: float  # longest exposure time, in frames
    blurred: float  # probability that a clip has motion blur at all
    exposure: float  # largest change of brightness
    jumps: bool  # brightness may change from one frame to the next
    noise: float  # largest standard deviation of the sensor's noise, grey levels
    weak: float  # probability that a surface has hardly any texture


GROUPS = {
    "easy": Difficulty(
        speed=0.02, objects=(0, 0), occluders=(0, 0), occlusion=(0, 0), excursion=0.7, nonrigid=0.0,
        shutter=0.0, blurred=0.0, exposure=0.10, jumps=False, noise=2.0, weak=0.0,
    ),
    "medium": Difficulty(
        speed=0.04, objects=(2, 4), occluders=(1, 2), occlusion=(2, 8), excursion=0.8, nonrigid=0.2,
        shutter=0.5, blurred=0.5, exposure=0.15, jumps=False, noise=4.0, weak=0.1,
    ),
    "hard": Difficulty(
        speed=0.08, objects=(4, 8), occluders=(2, 3), occlusion=(8, 24), excursion=1.0, nonrigid=0.6,
        shutter=0.9, blurred=0.7, exposure=0.40, jumps=True, noise=6.0, weak=0.3,
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """One kind of synthetic clip. ``train`` mixes the three difficulties, chosen by each clip's seed."""

    difficulty: str  # easy, medium, hard or train
    num_frames: int
    num_points: int
    height: int
    width: int
    frame_stride: float = 1.0  # camera frames between two frames kept; above 1 everything moves faster
    first_frame_share: float = 0.5  # of the queries, born in frame 0
    last_birth: float = 0.5  # the latest other birth, as a share of the clip
    object_share: float = 0.5  # of the queries, on movers (where there are enough)
    rim_share: float | int = 0.0  # of the queries, beside the rim of a surface, on either side (likewise)
    photometric: bool = True  # blur, brightness change and noise
    dense_flow: bool = False  # add the displacement of every pixel of frame 0
    spare_held_out: bool = False  # show no photograph that matchers are measured on (textures.HELD_OUT)
    photo_share: float | int = PHOTO_SHARE  # of the textures, pieces of photographs; the rest is drawn
    shaded: float | int = 0.0  # probability that a lamp shades the surfaces, sometimes with highlights
    grey: float | int = 0.0  # probability that the film has no colours
    locked: float | int = 0.0  # probability that the camera stands still
    weak: float | int | None = None  # chance of a surface with hardly any texture; None: the difficulty's
    weak_walls: float | int = 0.4  # of that chance, a wall's share: little is left to follow on weak walls
    strict: bool = False  # draw again until the difficulty's occlusions and returns are really there

    def __post_init__(self) -> None:
        if self.difficulty not in (*DIFFICULTIES, "train"):
            allowed = ", ".join((*DIFFICULTIES, "train"))
            raise ValueError(f"synthetic difficulty must be one of {allowed}; got {self.difficulty!r}")
        sizes = (self.num_frames, self.num_points, self.height, self.width)
        if min(sizes) < 1 or self.frame_stride <= 0:
            raise ValueError(
                f"synthetic clips need positive sizes and stride; got {sizes}, {self.frame_stride}"
            )
        for name in SHARES:
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise ValueError(f"synthetic {name}: expected a share from 0 to 1, got {share}")
