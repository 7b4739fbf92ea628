"""Settings with which a training takes seconds: parts that tests put together."""

QUICK = ("+debug=fast", "pretrained=none", "trainer.accelerator=cpu")
CLIPS = (
    "data.train.synthetic.size=64",
    "data.train.synthetic.num_frames=4",
    "data.train.synthetic.num_points=5",
)
CHECKED = ("data.val.size=64", "data.val.num_frames=4")
# Of clips and pairs together.
PAIRS = (
    "data.train.posed.size=64",
    "data.train.moving.num_points=9",
    "data.pairing.num_points=9",
    "module.supervision.num_anchors=16",
    "callbacks.pose.grid=4",
)
BESIDE_PAIRS = (
    "data.train.clips.size=64",
    "data.train.clips.num_frames=3",
    "data.train.clips.num_points=5",
    "data.val.size=64",
    "data.val.num_frames=3",
    "data.val.num_points=5",
)
FROM_FOLDERS = (
    "+experiment=tracking",
    *QUICK,
    "trainer.devices=1",
    "data=tracks_folder",
    "data.window.num_frames=3",
    "data.transform.transforms.crop.size=[64,64]",
    "data.transform.transforms.points.num_points=5",
)
