"""What makes a training on a folder of small clips quick."""

SMALL = (
    "+experiment=tracking",
    "+debug=fast",
    "pretrained=none",
    "trainer.accelerator=cpu",
    "trainer.devices=1",
    "data=tracks_folder",
    "data.window.num_frames=3",
    "data.transform.transforms.crop.size=[64,64]",
    "data.transform.transforms.points.num_points=5",
)
